"""Metrics are what a hand would count, through the serving path."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import SeeFoodError
from service.model import open_model
from tests.fixtures.drawing import encode
from training.evaluate import calibration_error, evaluate, measure


def test_metrics_by_hand() -> None:
    targets = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], np.float32)
    probabilities = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.3, 0.1, 0.1], np.float32)
    metrics = measure(targets, probabilities, threshold=0.5)
    values = {name: round(metric.value, 4) for name, metric in metrics.items()}
    assert values == {
        "accuracy": 0.8,
        "precision": 0.75,
        "recall": 0.75,
        "false_positive_rate": 0.1667,
        "balanced_accuracy": round((3 / 4 + 5 / 6) / 2, 4),
        "f1": 0.75,
        "roc_auc": round(20 / 24, 4),
        "pr_auc": round((1 + 1 + 1 + 4 / 8) / 4, 4),
        "calibration_error": 0.32,
    }
    for metric in metrics.values():
        assert 0 <= metric.low < metric.value < metric.high <= 1


def test_a_share_has_wilsons_interval() -> None:
    metric = measure(np.zeros(100), np.zeros(100), 0.5)["false_positive_rate"]
    assert (metric.value, metric.low, round(metric.high, 4)) == (0, 0, 0.037)


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    probabilities = np.repeat([0.15, 0.85], 1000)
    targets = np.concatenate([np.arange(1000) < 150, np.arange(1000) < 850]).astype(float)
    assert calibration_error(targets, probabilities) == pytest.approx(0, abs=1e-9)
    assert calibration_error(targets, np.repeat([0.05, 0.95], 1000)) == pytest.approx(0.1)
    assert calibration_error(np.ones(3), np.ones(3)) == 0


def test_one_class_has_no_precision_and_no_curve() -> None:
    assert set(measure(np.zeros(9), np.full(9, 0.7), 0.5)) == {"accuracy", "false_positive_rate"}
    assert set(measure(np.ones(9), np.full(9, 0.7), 0.5)) == {"accuracy", "recall"}


def test_a_model_that_never_says_yes_has_no_precision() -> None:
    assert "precision" not in measure(np.array([0, 1]), np.array([0.1, 0.2]), 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, colours in {"hotdog": ["red", "red", "blue"], "not_hotdog": ["blue", "red"]}.items():
        (tmp_path / label).mkdir()
        for number, colour in enumerate(colours):
            (tmp_path / label / f"{number}.png").write_bytes(encode(Image.new("RGB", (20, 20), colour), "PNG"))
    return tmp_path


def test_a_folder_is_evaluated(tiny_models: Path, folder: Path) -> None:
    (folder / "hotdog" / "broken.jpg").write_bytes(b"broken")
    evaluation = evaluate(open_model(tiny_models), folder)
    assert evaluation.photos == (3, 2)
    assert evaluation.metrics["accuracy"].value == pytest.approx(3 / 5)
    assert [f"{m.path.parent.name}/{m.path.name}" for m in evaluation.mistakes] == ["hotdog/2.png", "not_hotdog/1.png"]
    assert list(evaluation.unreadable) == [folder / "hotdog" / "broken.jpg"]
    assert evaluation.as_dict()["photos"] == {"positive": 3, "negative": 2}


def test_a_folder_of_unreadable_photos_is_a_sentence(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "hotdog").mkdir()
    (tmp_path / "hotdog" / "a.jpg").write_bytes(b"broken")
    with pytest.raises(SeeFoodError, match=r"None of 1 photos can be read; .*a\.jpg"):
        evaluate(open_model(tiny_models), tmp_path)
