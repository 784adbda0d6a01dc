"""Test photos that a version was trained with are counted, and a warning names their number."""

import hashlib
from pathlib import Path

import pytest

from tests.fixtures.command import seefood
from tests.fixtures.painting import paint
from tests.fixtures.tiny_model import write_tiny_registry, write_tiny_version
from training.data.photos import find_labelled
from training.evaluation.leakage import count_leaked
from training.registry.photo_list import PHOTOS


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    paint(tmp_path / "photos", {"hotdog/1.png": "red", "hotdog/2.png": "brown", "not_hotdog/3.png": "blue"})
    return tmp_path / "photos"


def _list(version: Path, uses: dict[Path, str]) -> None:
    rows = [f"{hashlib.sha256(path.read_bytes()).hexdigest()},hotdog,{use}" for path, use in uses.items()]
    (version / PHOTOS).write_text("\n".join(["sha256,label,split", *rows, ""]))


def test_photos_of_fit_and_validation_are_counted(photos: Path, tmp_path: Path) -> None:
    found = find_labelled(photos, "hotdog", "not_hotdog")
    assert count_leaked(tmp_path, found) == 0, "no list"
    _list(tmp_path, dict(zip(found.paths, ("fit", "validate", "held out"), strict=True)))
    assert count_leaked(tmp_path, found) == 2


def test_evaluate_and_promote_warn(photos: Path, tmp_path: Path) -> None:
    models = write_tiny_registry(tmp_path / "models")
    write_tiny_version(models, "new")
    (models / "new" / "metrics.json").write_text((models / "tiny" / "metrics.json").read_text())
    assert seefood(models, "evaluate", photos).stderr == ""
    _list(models / "tiny", {photos / "hotdog" / "1.png": "fit"})
    warning = "Warning: 1 of 3 photos are training photos of tiny, so its results are too good; use other photos.\n"
    assert seefood(models, "evaluate", photos).stderr == warning
    promoted = seefood(models, "models", "promote", "new", "--test", photos)
    assert (promoted.exit_code, promoted.stderr) == (0, warning)
