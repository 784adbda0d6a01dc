"""What a logit is worth: temperature, threshold and uncertain band, from validation photos alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from training.job import Aim

Array = npt.NDArray[np.float32]

_HUNDREDTHS = np.linspace(0.01, 0.99, 99)
_UNCERTAIN = 0.25  # a verdict is in doubt while its calibrated chance of being wrong is above this


@dataclass(frozen=True)
class Calibration:
    """How to read a logit: probability = sigmoid(logit / temperature), positive at or above the threshold."""

    temperature: float
    threshold: float
    uncertain_low: float
    uncertain_high: float


def calibrate(logits: Array, targets: Array, aim: Aim) -> Calibration:
    """Fit the temperature, then choose the threshold that serves the aim.

    Args:
        logits: float32 [N], of validation photos.
        targets: float32 [N], 0 or 1.
        aim: what the threshold is for; one that no threshold reaches is come as near to as can be.
    """
    temperature = _temperature(logits, targets)
    threshold = _threshold(expit(logits / temperature), targets == 1, aim)
    low, high = min(_UNCERTAIN, threshold - 0.05), max(1 - _UNCERTAIN, threshold + 0.05)
    return Calibration(temperature, threshold, round(max(low, 0.0), 3), round(min(high, 1.0), 3))


def _temperature(logits: Array, targets: Array) -> float:
    """Minimise the validation loss over one divisor of the logits (Guo et al. 2017, arXiv:1706.04599)."""
    signed = np.where(targets == 1, logits, -logits).astype(np.float64)
    fitted = minimize_scalar(lambda log_t: -log_expit(signed / np.exp(log_t)).mean(), bounds=(-7, 3), method="bounded")
    return float(np.exp(fitted.x))


def _threshold(probabilities: Array, truth: npt.NDArray[np.bool_], aim: Aim) -> float:
    """Choose among hundredths, of probability and of photos.

    For accuracy it is the one nearest a half whose accuracy is within one standard error of the best (the rule of
    Breiman et al. 1984): a half is right for a calibrated probability, and the very best of few photos follows noise.
    """
    candidates = np.sort(np.concatenate([_HUNDREDTHS, np.quantile(probabilities, _HUNDREDTHS)]))
    said = probabilities[:, None] >= candidates
    hits, alarms = (said & truth[:, None]).sum(axis=0), (said & ~truth[:, None]).sum(axis=0)
    if aim.metric == "accuracy":
        accuracy = (hits + (~truth).sum() - alarms) / len(truth)
        best = accuracy.max()
        good = accuracy >= best - np.sqrt(best * (1 - best) / len(truth))
        chosen = np.where(good, np.abs(candidates - 0.5), np.inf).argmin()
    elif aim.metric == "precision":
        precision = hits / np.maximum(hits + alarms, 1)
        reached = precision >= aim.value
        chosen = reached.argmax() if reached.any() else precision.argmax()  # the first leaves most recall
    else:
        chosen = np.flatnonzero(hits >= aim.value * truth.sum())[-1:].sum()  # recall falls as the threshold rises
    return round(float(candidates[chosen]), 6)
