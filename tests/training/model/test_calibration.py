"""Calibration finds the temperature, bias and threshold of simulated logits."""

import numpy as np
import pytest
from scipy.special import expit

from service.metadata import HISTOGRAM_BINS
from training.config import ThresholdTarget
from training.model.calibration import Array, calibrate, calibration_error

ACCURACY = ThresholdTarget("accuracy")


def _photos(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return calibrated logits, and labels that are drawn with their probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, count)
    return logits.astype(np.float32), (random.random(count) < expit(logits)).astype(np.float32)


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_overconfidence(overconfidence: float) -> None:
    logits, targets = _photos(20_000)
    found = calibrate(logits * overconfidence, targets, ACCURACY)
    assert found.temperature == pytest.approx(overconfidence, rel=0.05)


def test_the_threshold_of_calibrated_logits_is_near_a_half() -> None:
    logits, targets = _photos(20_000)
    assert calibrate(logits, targets, ACCURACY).threshold == pytest.approx(0.5, abs=0.05)


def test_the_bias_undoes_a_shift() -> None:
    logits, targets = _photos(20_000)
    found = calibrate(logits + 2, targets, ACCURACY)
    assert found.bias == pytest.approx(-2, abs=0.1)
    assert found.threshold == pytest.approx(0.5, abs=0.05)
    assert found.uncertain_low < found.threshold < found.uncertain_high


def test_another_mix_of_photos_moves_the_bias_alone() -> None:
    """75% of these photos are positive; if 10% are, the same logit has a lower probability."""
    random = np.random.default_rng(3)
    targets = (random.random(40_000) < 0.75).astype(np.float32)
    logits = (random.normal(0, 1, 40_000) + np.where(targets == 1, 1, -1)).astype(np.float32)  # true: 2 x + log(3)
    found = calibrate(logits, targets, ACCURACY, prevalence=0.1)
    assert found.temperature == pytest.approx(0.5, rel=0.05)
    assert found.bias == pytest.approx(np.log(1 / 9), abs=0.1)
    assert calibrate(logits, targets, ACCURACY).bias == pytest.approx(np.log(3), abs=0.1)


def test_a_best_threshold_within_the_noise_is_not_chosen() -> None:
    """At 0.3, two more of 400 photos are right than at 0.5: less than one standard error."""
    targets = np.repeat([0, 1], 200).astype(np.float32)
    logits = np.where(targets == 1, 3, -3).astype(np.float32)
    logits[:20], logits[200:202] = 3, -0.3
    assert calibrate(logits, targets, ACCURACY).threshold == 0.5


def test_tiny_logits_still_get_a_useful_threshold() -> None:
    """All logits are close together, beyond the range of the temperature and between two hundredths."""
    logits, targets = _photos(400)
    logits = logits / np.float32(1000) + np.float32(0.01)
    found = calibrate(logits, targets, ACCURACY)
    said = expit(logits / found.temperature + found.bias) >= found.threshold
    assert (said == (targets == 1)).mean() > 0.8


def test_perfect_logits_are_calibrated() -> None:
    targets = np.repeat([0, 1], 30).astype(np.float32)
    found = calibrate((targets - 0.5) * 20, targets, ACCURACY)
    assert 0 < found.temperature < 1
    assert found.threshold == 0.5


def test_a_threshold_for_precision_has_it_and_no_more() -> None:
    logits, targets = _photos(20_000)
    found = calibrate(logits, targets, ThresholdTarget("precision", 0.95))
    said = expit(logits / found.temperature + found.bias) >= found.threshold
    assert targets[said].mean() == pytest.approx(0.95, abs=0.01)


def test_a_threshold_for_recall_has_it_and_no_more() -> None:
    logits, targets = _photos(20_000)
    found = calibrate(logits, targets, ThresholdTarget("recall", 0.95))
    said = expit(logits / found.temperature + found.bias) >= found.threshold
    assert said[targets == 1].mean() == pytest.approx(0.95, abs=0.01)


def test_an_unreachable_target_gets_the_nearest_threshold() -> None:
    logits, targets = _photos(2_000)
    found = calibrate(np.zeros_like(logits), targets, ThresholdTarget("precision", 0.99))
    assert 0 < found.threshold < 1
    assert 0 <= found.uncertain_low < found.uncertain_high <= 1


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    probabilities = np.repeat([0.15, 0.85], 1000)
    targets = np.concatenate([np.arange(1000) < 150, np.arange(1000) < 850]).astype(float)
    assert calibration_error(targets, probabilities) == pytest.approx(0, abs=1e-9)
    assert calibration_error(targets, np.repeat([0.05, 0.95], 1000)) == pytest.approx(0.1)
    assert calibration_error(np.ones(3), np.ones(3)) == 0


def test_the_histogram_counts_the_calibrated_probabilities_by_weight() -> None:
    calibration = calibrate(*_photos(2000), ACCURACY)
    logits = np.array([-20, 0, 20, 20], np.float32)
    histogram = np.array(calibration.histogram(logits, np.array([1, 1, 1, 1], np.float32)))
    assert len(histogram) == HISTOGRAM_BINS
    assert histogram.sum() == 4
    assert (histogram[0], histogram[-1]) == (1, 2)
    weighted = np.array(calibration.histogram(logits, np.array([2, 1, 0.5, 0.5], np.float32)))
    assert (weighted[0], weighted[-1]) == (2, 1)
