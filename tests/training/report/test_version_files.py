"""A version is written with the made-up pictures' figures, and beside the version that was current."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from service.metadata import Metadata
from service.model import Model
from service.registry import FILES
from tests.fixtures.drawing import draw_folder
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry
from training.data.checks import check
from training.data.folders import Data, Photos, labelled
from training.evaluation import synthetic as made_up
from training.evaluation.evaluate import evaluate, evaluate_photos
from training.model.classifier import Classifier, build
from training.prepare import Prepared
from training.records import Fitted, Story
from training.report.version_files import Measured, publish


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return labelled(draw_folder(tmp_path_factory.mktemp("photos") / "train", each=6), "hotdog", "not_hotdog")


@pytest.fixture(scope="module")
def test_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "test", each=6, first=100)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build("none")[0].eval()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_tiny_registry(tmp_path / "models")


@pytest.fixture
def publishing(
    models: Path, photos: Photos, test_folder: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> Measured:
    """Return what a run comes to whose model says no to everything; few pictures are made up."""
    monkeypatch.setattr(made_up, "EACH", 10)
    metadata = replace(METADATA, version="new", threshold=1.0)
    folder = models / ".runs" / "new"
    for name in FILES.values():
        write_tiny_model(folder / name, metadata.to_properties())
    model = Model(folder / FILES["int8"])
    fitted = Fitted(classifier, metadata, photos, photos, check(photos), {}, None)
    validation = evaluate_photos(model, photos)
    return Measured(folder, Story(fitted, {}, validation, {"data0/test": evaluate(model, test_folder)}))


def _publish(models: Path, measured: Measured, photos: Photos, tests: tuple[Path, ...]) -> Path:
    draft = models / ".draft"
    draft.mkdir()
    findings = measured.story.fitted.findings
    targets = photos.targets[None]
    publish(
        draft, [measured], Prepared(Data(photos, None, tests), photos, photos, findings, None, targets, None, None, ())
    )
    return draft


def test_made_up_pictures_are_in_the_card_the_report_and_the_metrics(
    models: Path, publishing: Measured, photos: Photos
) -> None:
    (models / "current").unlink()
    draft = _publish(models, publishing, photos, ())
    figures = json.loads((draft / "metrics.json").read_text())["made up"]
    assert figures["photos"] == {"positive": 0, "negative": 30}
    assert set(figures["slices"]["kind"]) == {"noise", "screenshot", "drawing"}
    for kind in figures["slices"]["kind"].values():
        assert {"false_positive_rate", "unfamiliar"} <= set(kind)
    card = (draft / "card.md").read_text()
    assert "| kind | photos | called hotdog | unfamiliar |\n|---|---|---|---|\n" in card.split("## Made-up")[1]
    assert "| screenshot | 10 | 0.000 (0.000 - 0.278) |" in card
    assert "<h2>Made-up pictures</h2>" in (draft / "report" / "index.html").read_text()
    assert "Beside version" not in card
    assert not [path for path in draft.iterdir() if path.is_dir() and path.name != "report"], "no scratch is left"


def test_the_current_version_stands_beside_the_new_one(
    models: Path, publishing: Measured, photos: Photos, test_folder: Path
) -> None:
    name = f"{test_folder.parent.name}/test"
    story = replace(publishing.story, tests={name: publishing.story.tests["data0/test"]})
    draft = _publish(models, replace(publishing, story=story), photos, (test_folder,))
    card = (draft / "card.md").read_text()
    shown = card.split("Beside version tiny, ")[1]
    assert "| kind | label | photos | called hotdog, this version | called hotdog, version tiny before |\n" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("| (all) | hotdog | 6 |")]
    assert row.split(" | ")[3:] == ["0.000 (0.000 - 0.390)", "1.000 (0.610 - 1.000) |"]
    page = (draft / "report" / "index.html").read_text()
    assert "<h3>Beside version tiny</h3>" in page
    assert "<td>1.000 (0.610 - 1.000)</td></tr>" in page


def test_a_current_version_that_cannot_be_opened_is_said_and_left_out(
    models: Path,
    publishing: Measured,
    photos: Photos,
    test_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (models / "tiny" / FILES["int8"]).write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        draft = _publish(models, publishing, photos, (test_folder,))
    (line,) = caplog.messages
    assert line.startswith("The current version is not in the card for comparison: ")
    assert str(models / "tiny" / FILES["int8"]) in line
    assert "Beside version" not in (draft / "card.md").read_text()


def test_a_current_version_of_other_labels_is_left_out(
    models: Path, publishing: Measured, photos: Photos, test_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other: Metadata = replace(METADATA, positive_label="cat", negative_label="dog")
    write_tiny_model(models / "tiny" / FILES["int8"], other.to_properties())
    draft = _publish(models, publishing, photos, (test_folder,))
    assert "Beside version" not in (draft / "card.md").read_text()
    assert not caplog.messages
