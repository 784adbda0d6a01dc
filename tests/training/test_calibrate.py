"""Calibration finds what was put into made-up logits."""

import numpy as np
import pytest
from scipy.special import expit

from training.calibrate import Array, calibrate


def _photos(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return true logits and labels drawn with exactly the probabilities that they mean."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, count)
    return logits.astype(np.float32), (random.random(count) < expit(logits)).astype(np.float32)


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_overconfidence(overconfidence: float) -> None:
    logits, targets = _photos(20_000)
    found = calibrate(logits * overconfidence, targets, seed=0)
    assert found.temperature == pytest.approx(overconfidence, rel=0.05)


def test_the_threshold_of_calibrated_logits_is_near_a_half() -> None:
    logits, targets = _photos(20_000)
    assert calibrate(logits, targets, seed=0).threshold == pytest.approx(0.5, abs=0.05)


def test_the_threshold_moves_with_a_shift() -> None:
    logits, targets = _photos(20_000)
    found = calibrate(logits + 2, targets, seed=0)
    assert found.threshold > 0.7
    assert found.uncertain_low < found.threshold < found.uncertain_high


def test_perfect_logits_are_no_trouble() -> None:
    targets = np.repeat([0, 1], 30).astype(np.float32)
    found = calibrate((targets - 0.5) * 20, targets, seed=0)
    assert 0 < found.temperature < 1
    assert found.threshold == 0.5


def test_it_is_repeatable() -> None:
    photos = _photos(300)
    assert calibrate(*photos, seed=5) == calibrate(*photos, seed=5)
