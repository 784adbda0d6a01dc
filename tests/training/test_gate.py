"""A candidate becomes current only if it is not worse on the same photos."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from service.cli import main
from service.model import open_model
from service.registry import current_version
from tests.fixtures.drawing import encode
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry
from training.gate import Comparison, compare


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry whose current version is right about red and blue; `blind` never says yes, `twin` is equal."""
    models = write_tiny_registry(tmp_path / "models")
    for name, metadata in (
        ("blind", replace(METADATA, version="blind", threshold=1.1)),
        ("twin", replace(METADATA, version="twin")),
        ("cats", replace(METADATA, version="cats", positive_label="cat", negative_label="dog")),
    ):
        write_tiny_model(models / name / "model.int8.onnx", metadata.to_properties())
        (models / name / "metrics.json").write_text((models / "tiny" / "metrics.json").read_text())
    return models


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, colour in (("hotdog", "red"), ("not_hotdog", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            data = encode(Image.new("RGB", (20, 20), colour), "PNG")
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(data)
    return tmp_path / "photos"


def _promote(models: Path, *arguments: str | Path) -> Result:
    environment = {"SEEFOOD_MODELS": str(models)}
    return CliRunner().invoke(main, ["models", "promote", *map(str, arguments)], env=environment)


def _why(models: Path) -> str:
    why: str = json.loads((models / "history.jsonl").read_text().splitlines()[-1])["why"]
    return why


def test_a_worse_candidate_stays_one(models: Path, photos: Path) -> None:
    result = _promote(models, "blind", "--test", photos)
    assert result.exit_code == 2
    assert "blind is worse: of 16 photos the candidate gets 0 right" in result.stderr
    assert current_version(models) == "tiny"


def test_force_overrides_and_is_recorded(models: Path, photos: Path) -> None:
    assert _promote(models, "blind", "--test", photos, "--force").exit_code == 0
    assert current_version(models) == "blind"
    assert _why(models).startswith("forced: of 16 photos the candidate gets 0 right")
    back = CliRunner().invoke(main, ["models", "rollback"], env={"SEEFOOD_MODELS": str(models)})
    assert back.exit_code == 2, "the first version was not promoted by the registry, which so knows none before"


def test_an_equal_candidate_is_promoted(models: Path, photos: Path) -> None:
    assert _promote(models, "twin", "--test", photos).exit_code == 0
    assert current_version(models) == "twin"
    assert "0 right that the current version does not, and 0 wrong" in _why(models)


def test_without_photos_nothing_is_promoted_unless_forced(models: Path) -> None:
    assert "--test FOLDER, or promote unseen with --force" in _promote(models, "twin").stderr
    assert current_version(models) == "tiny"
    assert _promote(models, "twin", "--force").exit_code == 0
    assert _why(models) == "forced, without a comparison"


def test_other_labels_cannot_be_compared(models: Path, photos: Path) -> None:
    assert "they can't be compared; promote it with --force" in _promote(models, "cats", "--test", photos).stderr


@pytest.mark.parametrize(
    ("gained", "lost", "worse"),
    [(0, 0, False), (0, 4, False), (0, 5, True), (10, 12, False), (10, 30, True), (9, 2, False)],
)
def test_only_a_difference_beyond_chance_counts(gained: int, lost: int, worse: bool) -> None:
    assert Comparison(500, gained, lost).worse is worse


def test_the_chance_is_that_of_a_fair_coin() -> None:
    assert Comparison(500, 0, 5).p_worse == pytest.approx(1 / 32)
    assert Comparison(500, 1, 2).p_worse == pytest.approx(4 / 8)
    assert Comparison(500, 0, 0).p_worse == 1


def test_all_folders_count_and_unreadable_photos_do_not(models: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "hotdog" / "broken.jpg").write_bytes(b"broken")
    (tmp_path / "more" / "hotdog").mkdir(parents=True)
    (tmp_path / "more" / "hotdog" / "1.png").write_bytes(encode(Image.new("RGB", (20, 20), "red"), "PNG"))
    sighted, blind = open_model(models), open_model(models, "blind")
    assert compare(sighted, blind, [photos, tmp_path / "more"]) == Comparison(photos=17, gained=0, lost=9)
    assert compare(blind, sighted, [photos]) == Comparison(photos=16, gained=8, lost=0)
