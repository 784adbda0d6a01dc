"""What a logit is worth: temperature, threshold and uncertain band, from validation photos alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from training.job import Aim

Array = npt.NDArray[np.float32]

_RESAMPLES = 1000
_CANDIDATES = np.linspace(0.01, 0.99, 99)
_UNCERTAIN = 0.25  # a verdict is in doubt while its calibrated chance of being wrong is above this


@dataclass(frozen=True)
class Calibration:
    """How to read a logit: probability = sigmoid(logit / temperature), positive at or above the threshold."""

    temperature: float
    threshold: float
    uncertain_low: float
    uncertain_high: float


def calibrate(logits: Array, targets: Array, aim: Aim, seed: int) -> Calibration:
    """Fit the temperature, then choose the threshold that serves the aim.

    Args:
        logits: float32 [N], of validation photos.
        targets: float32 [N], 0 or 1.
        aim: what the threshold is for; one that no threshold reaches is come as near to as can be.
        seed: of the resampling that steadies the threshold.
    """
    temperature = _temperature(logits, targets)
    probabilities = expit(logits / temperature)
    threshold = _threshold(probabilities, targets == 1, aim, np.random.default_rng(seed))
    low, high = min(_UNCERTAIN, threshold - 0.05), max(1 - _UNCERTAIN, threshold + 0.05)
    return Calibration(temperature, threshold, round(max(low, 0.0), 3), round(min(high, 1.0), 3))


def _temperature(logits: Array, targets: Array) -> float:
    """Minimise the validation loss over one divisor of the logits (Guo et al. 2017, arXiv:1706.04599)."""
    signed = np.where(targets == 1, logits, -logits).astype(np.float64)
    fitted = minimize_scalar(lambda log_t: -log_expit(signed / np.exp(log_t)).mean(), bounds=(-3, 3), method="bounded")
    return float(np.exp(fitted.x))


def _threshold(probabilities: Array, truth: npt.NDArray[np.bool_], aim: Aim, random: np.random.Generator) -> float:
    """Take the median of what each resample of the photos would choose: a single choice follows noise."""
    count = len(truth)
    weights = random.multinomial(count, np.full(count, 1 / count), _RESAMPLES).astype(np.float64)
    said = (probabilities[:, None] >= _CANDIDATES).astype(np.float64)
    hits, alarms = (weights * truth) @ said, (weights * ~truth) @ said
    positives = weights @ truth[:, None]
    if aim.metric == "accuracy":
        right = hits - alarms
        best = right == right.max(axis=1, keepdims=True)
        chosen = np.where(best, np.abs(_CANDIDATES - 0.5), np.inf).argmin(axis=1)
    elif aim.metric == "precision":
        reached = hits >= aim.value * (hits + alarms)
        precision = hits / np.maximum(hits + alarms, 1)
        chosen = np.where(reached.any(axis=1), reached.argmax(axis=1), precision.argmax(axis=1))
    else:
        reached = hits >= aim.value * positives
        chosen = reached.sum(axis=1) - 1  # recall falls as the threshold rises
    return round(float(np.median(_CANDIDATES[chosen])), 3)
