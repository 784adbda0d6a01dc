"""Metrics equal those computed by hand."""

import numpy as np
import pytest

from tests.conftest import ROOT
from training.evaluation.metrics import compute_metrics, mean_and_deviation


def test_metrics_by_hand() -> None:
    targets = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], np.float32)
    probabilities = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.3, 0.1, 0.1], np.float32)
    metrics = compute_metrics(targets, probabilities, threshold=0.5)
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
    metric = compute_metrics(np.zeros(100), np.zeros(100), 0.5)["false_positive_rate"]
    assert (metric.value, metric.low, round(metric.high, 4)) == (0, 0, 0.037)


def test_the_page_about_strangers_has_the_intervals_right() -> None:
    page = (ROOT / "docs" / "test-photos.md").read_text(encoding="utf-8")
    none = {n: compute_metrics(np.zeros(n), np.zeros(n), 0.5)["false_positive_rate"] for n in (50, 380, 381)}
    assert f"0 of 50 is {none[50]}" in page
    assert none[381].high <= 0.01 < none[380].high
    assert "two sides, is wider, and needs 381" in page


def test_one_class_has_no_precision_and_no_curve() -> None:
    assert set(compute_metrics(np.zeros(9), np.full(9, 0.7), 0.5)) == {"accuracy", "false_positive_rate"}
    assert set(compute_metrics(np.ones(9), np.full(9, 0.7), 0.5)) == {"accuracy", "recall"}


def test_a_model_that_never_says_yes_has_no_precision() -> None:
    assert "precision" not in compute_metrics(np.array([0, 1]), np.array([0.1, 0.2]), 0.5)


def test_the_mean_of_several_runs_has_the_metrics_of_all() -> None:
    targets = np.array([0, 1])
    runs = [compute_metrics(targets, np.array(found), 0.5) for found in ([0.1, 0.2], [0.1, 0.9], [0.1, 0.9])]
    over_runs = mean_and_deviation(runs)
    assert over_runs["accuracy"] == pytest.approx((2.5 / 3, 0.5 / 3**0.5))
    assert "precision" not in over_runs, "the first run has none"
