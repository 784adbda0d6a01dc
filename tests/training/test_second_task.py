"""Other classes, without changes of the code: checked, trained, evaluated, promoted and served."""

import json
import shutil
from pathlib import Path

import pytest

from service.registry import current_version
from tests.conftest import ROOT
from tests.fixtures.command import seefood
from tests.fixtures.server import serving

WEIGHTS = ROOT.parent / "shared" / "weights" / "resnet18-distilled.pth"


@pytest.fixture(scope="module")
def task(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of foods and objects, split into train and test."""
    if not WEIGHTS.exists():
        pytest.skip(f"no ImageNet weights at {WEIGHTS}")
    folder = tmp_path_factory.mktemp("task") / "photos"
    for part, count in (("train", 80), ("test", 40)):
        for label, source in (("food", "foods"), ("object", "objects")):
            found = sorted((photos / "hard_negatives" / part / source).rglob("*.jpg"))
            (folder / part / label).mkdir(parents=True)
            for path in found[:: len(found) // count][:count]:
                shutil.copy(path, folder / part / label / path.name)
    return folder


def _seefood(models: Path, *arguments: str | Path) -> str:
    """Run a command in this process, which saves the imports of torch, and return its stdout."""
    done = seefood(models, *arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_foods_and_objects(task: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    assert "80 photos of food" in _seefood(models, "check", task, "--positive", "food")

    started = ("train", task, "--positive", "food", "--weights", WEIGHTS)
    printed = _seefood(models, *started, "--epochs", "0")
    assert "\nphotos/test: " in printed
    assert f"\n{task.parent.name}/{task.name}: " not in printed
    probe = current_version(models)
    assert (models / probe / "photos.csv").read_text().count("\n") == 161
    figures = json.loads(_seefood(models, "evaluate", task / "test", "--json"))
    assert figures["roc_auc"]["low"] > 0.9, "a linear probe separates foods from objects"

    _seefood(models, *started, "--epochs", "1", "--aim", "precision=0.95", "--seeds", "2", "--drop-suspects")
    (candidate,) = {path.parent.name for path in models.glob("[!.]*/card.md")} - {probe}
    card = (models / candidate / "card.md").read_text()
    assert "left out of the fit" in card
    assert "Over 2 fits" in card
    assert "precision=0.95" in card
    assert current_version(models) == probe, "a candidate is not promoted"
    assert f"{candidate} is current" in _seefood(models, "models", "promote", candidate, "--test", task / "test")

    photo = next((task / "test" / "food").glob("*.jpg"))
    with serving(models) as server:
        (prediction,) = server.post_photos(photo.read_bytes()).json()["predictions"]
    assert set(prediction) == {"label", "food", "probability", "uncertain", "unfamiliar", "filename"}
    assert prediction["food"] is True
