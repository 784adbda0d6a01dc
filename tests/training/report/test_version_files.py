"""The files of a version have the metrics of synthetic pictures and of the current version."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from service.metadata import Metadata
from service.model import Model
from service.registry import FILES
from tests.fixtures.drawing import draw_folder
from tests.fixtures.small_backbone import SMALL
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry
from training.data.cache import Cache
from training.data.checks import check_photos
from training.data.photos import Photos, find_labelled
from training.evaluation import synthetic
from training.evaluation.evaluate import evaluate_current, evaluate_folders, evaluate_photos
from training.evaluation.synthetic import evaluate_synthetic
from training.model.classifier import Classifier, build_classifier
from training.records import PreparedData, RunResult
from training.report.version_files import write_version


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return find_labelled(draw_folder(tmp_path_factory.mktemp("photos") / "train", each=6), "hotdog", "not_hotdog")


@pytest.fixture(scope="module")
def test_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "test", each=6, first=100)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build_classifier("none", SMALL)[0].eval()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_tiny_registry(tmp_path / "models")


@pytest.fixture
def result(models: Path, photos: Photos, classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    """Return the result of a run whose model never predicts the positive label; it has few synthetic pictures."""
    monkeypatch.setattr(synthetic, "EACH", 10)
    metadata = replace(METADATA, version="new", threshold=1.0)
    folder = models / ".runs" / "new"
    for name in FILES.values():
        write_tiny_model(folder / name, metadata.to_properties())
    model = Model(folder / FILES["int8"])
    findings = check_photos(photos, [], Cache(None))
    none = photos.take([])
    data = PreparedData(photos, photos, (), findings, (), None, None, photos.targets[None], None, None, none, none)
    validation = evaluate_photos(model, photos)
    return RunResult(data, folder, classifier, metadata, {}, None, {}, validation, {})


def _write(models: Path, result: RunResult, *tests: Path) -> Path:
    """Evaluate as the pipeline does, and write the version."""
    draft = models / ".draft"
    draft.mkdir()
    model = Model(result.folder / FILES["int8"])
    version, current = evaluate_current(models, result.labels, tests)
    result = replace(
        result,
        tests=evaluate_folders(model, tests),
        synthetic=evaluate_synthetic(model, draft),
        current=current,
        current_version=version,
    )
    write_version(draft, result)
    return draft


def test_synthetic_pictures_are_in_the_card_the_report_and_the_metrics(models: Path, result: RunResult) -> None:
    (models / "current").unlink()
    draft = _write(models, result)
    metrics = json.loads((draft / "metrics.json").read_text())["made up"]
    assert metrics["photos"] == {"positive": 0, "negative": 30}
    assert set(metrics["slices"]["kind"]) == {"noise", "screenshot", "drawing"}
    for kind in metrics["slices"]["kind"].values():
        assert {"false_positive_rate", "unfamiliar"} <= set(kind)
    card = (draft / "card.md").read_text()
    assert "| kind | photos | called hotdog | unfamiliar |\n|---|---|---|---|\n" in card.split("## Synthetic")[1]
    assert "| screenshot | 10 | 0.000 (0.000 - 0.278) |" in card
    assert "<h2>Synthetic pictures</h2>" in (draft / "report" / "index.html").read_text()
    assert "Compared with version" not in card
    assert not [path for path in draft.iterdir() if path.is_dir() and path.name != "report"], (
        "temporary folders are removed"
    )


def test_the_new_version_is_compared_with_the_current_one(models: Path, result: RunResult, test_folder: Path) -> None:
    draft = _write(models, result, test_folder)
    card = (draft / "card.md").read_text()
    shown = card.split("Compared with version tiny, ")[1]
    assert "| kind | label | photos | called hotdog, this version | called hotdog, version tiny before |\n" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("| (all) | hotdog | 6 |")]
    assert row.split(" | ")[3:] == ["0.000 (0.000 - 0.390)", "1.000 (0.610 - 1.000) |"]
    page = (draft / "report" / "index.html").read_text()
    assert "<h3>Compared with version tiny</h3>" in page
    assert "<td>1.000 (0.610 - 1.000)</td></tr>" in page


def test_a_current_version_that_cannot_be_opened_is_left_out_with_a_warning(
    models: Path, result: RunResult, test_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (models / "tiny" / FILES["int8"]).write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        draft = _write(models, result, test_folder)
    (line,) = caplog.messages
    assert line.startswith("The card has no comparison with the current version: ")
    assert str(models / "tiny" / FILES["int8"]) in line
    assert "Compared with version" not in (draft / "card.md").read_text()


def test_a_current_version_of_other_labels_is_left_out(
    models: Path, result: RunResult, test_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other: Metadata = replace(METADATA, positive_label="cat", negative_label="dog")
    write_tiny_model(models / "tiny" / FILES["int8"], other.to_properties())
    draft = _write(models, result, test_folder)
    assert "Compared with version" not in (draft / "card.md").read_text()
    assert not caplog.messages
