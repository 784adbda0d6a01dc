"""What a logit is worth: temperature, threshold and uncertain band, from validation photos alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

Array = npt.NDArray[np.float32]

_RESAMPLES = 1000
_UNCERTAIN = 0.25  # a verdict is in doubt while its calibrated chance of being wrong is above this


@dataclass(frozen=True)
class Calibration:
    """How to read a logit: probability = sigmoid(logit / temperature), positive at or above the threshold."""

    temperature: float
    threshold: float
    uncertain_low: float
    uncertain_high: float


def calibrate(logits: Array, targets: Array, seed: int) -> Calibration:
    """Fit the temperature, then choose the threshold that is most accurate.

    Args:
        logits: float32 [N], of validation photos.
        targets: float32 [N], 0 or 1.
        seed: of the resampling that steadies the threshold.
    """
    temperature = _temperature(logits, targets)
    probabilities = expit(logits / temperature)
    threshold = _threshold(probabilities, targets, np.random.default_rng(seed))
    return Calibration(temperature, threshold, min(_UNCERTAIN, threshold - 0.05), max(1 - _UNCERTAIN, threshold + 0.05))


def _temperature(logits: Array, targets: Array) -> float:
    """Minimise the validation loss over one divisor of the logits (Guo et al. 2017, arXiv:1706.04599)."""
    signed = np.where(targets == 1, logits, -logits).astype(np.float64)
    fitted = minimize_scalar(lambda log_t: -log_expit(signed / np.exp(log_t)).mean(), bounds=(-3, 3), method="bounded")
    return float(np.exp(fitted.x))


def _threshold(probabilities: Array, targets: Array, random: np.random.Generator) -> float:
    """Take the median, over resamples of the photos, of the most accurate threshold: a single argmax follows noise."""
    candidates = np.linspace(0.05, 0.95, 91)
    right = (probabilities[:, None] >= candidates) == (targets[:, None] == 1)
    best = []
    for _ in range(_RESAMPLES):
        accuracy = right[random.integers(0, len(right), len(right))].mean(axis=0)
        ties = candidates[accuracy == accuracy.max()]
        best.append(ties[np.abs(ties - 0.5).argmin()])
    return round(float(np.median(best)), 3)
