"""What a logit is worth: temperature, bias, threshold and uncertain band, from validation photos alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from training.config import Aim

Array = npt.NDArray[np.float32]

_HUNDREDTHS = np.linspace(0.01, 0.99, 99)
_UNCERTAIN = 0.25  # a verdict is in doubt while its calibrated chance of being wrong is above this


@dataclass(frozen=True)
class Calibration:
    """How to read a logit: probability = sigmoid(logit / temperature + bias), positive at or above the threshold."""

    temperature: float
    bias: float
    threshold: float
    uncertain_low: float
    uncertain_high: float


def calibrate(logits: Array, targets: Array, aim: Aim, prevalence: float | None = None) -> Calibration:
    """Fit temperature and bias, then choose the threshold that serves the aim.

    Args:
        logits: float32 [N], of validation photos.
        targets: float32 [N], 0 or 1.
        aim: what the threshold is for; one that no threshold reaches is come as near to as can be.
        prevalence: the share of positive photos, in (0, 1), among those that users will show; the validation photos
            are weighed to that mix. None: their own mix.
    """
    weights = weigh(targets, prevalence)
    temperature, bias = _scale(logits, targets, weights)
    threshold = _threshold(expit(logits / temperature + bias), targets == 1, aim, weights)
    low, high = min(_UNCERTAIN, threshold - 0.05), max(1 - _UNCERTAIN, threshold + 0.05)
    return Calibration(temperature, bias, threshold, round(max(low, 0.0), 3), round(min(high, 1.0), 3))


def weigh(targets: Array, prevalence: float | None) -> Array:
    """Return a weight for each photo, float32 [N], 1 on average, that gives the positive ones a share of the whole."""
    if prevalence is None:
        return np.ones(len(targets), np.float32)
    share = float(targets.mean())
    return np.where(targets == 1, prevalence / share, (1 - prevalence) / (1 - share)).astype(np.float32)


def _scale(logits: Array, targets: Array, weights: Array) -> tuple[float, float]:
    """Minimise the validation loss over a divisor of the logits (Guo et al. 2017, arXiv:1706.04599) and a bias.

    The bias is that of Platt (1999): another mix of photos, or larger squares than those of the fit, move every logit.
    """
    signs = np.where(targets == 1, 1.0, -1.0)

    def loss(values: npt.NDArray[np.float64]) -> float:
        return float(-(weights * log_expit(signs * (logits / np.exp(values[0]) + values[1]))).mean())

    fitted = minimize(loss, [0.0, 0.0], bounds=[(-7, 3), (-10, 10)], method="Nelder-Mead")
    return float(np.exp(fitted.x[0])), float(fitted.x[1])


def _threshold(probabilities: Array, truth: npt.NDArray[np.bool_], aim: Aim, weights: Array) -> float:
    """Choose among hundredths, of probability and of photos.

    For accuracy it is the one nearest a half whose accuracy is within one standard error of the best (the rule of
    Breiman et al. 1984): a half is right for a calibrated probability, and the very best of few photos follows noise.
    """
    candidates = np.sort(np.concatenate([_HUNDREDTHS, np.quantile(probabilities, _HUNDREDTHS)]))
    said = probabilities[:, None] >= candidates
    hits, alarms = ((said & side[:, None]) * weights[:, None] for side in (truth, ~truth))
    hits, alarms = hits.sum(axis=0), alarms.sum(axis=0)
    if aim.metric == "accuracy":
        accuracy = (hits + weights[~truth].sum() - alarms) / weights.sum()
        best = accuracy.max()
        good = accuracy >= best - np.sqrt(best * (1 - best) / len(truth))
        chosen = np.where(good, np.abs(candidates - 0.5), np.inf).argmin()
    elif aim.metric == "precision":
        precision = hits / np.maximum(hits + alarms, 1e-9)
        reached = precision >= aim.value
        chosen = reached.argmax() if reached.any() else precision.argmax()  # the first leaves most recall
    else:
        enough = hits >= aim.value * weights[truth].sum() - 1e-6
        chosen = np.flatnonzero(enough)[-1:].sum()  # recall falls as the threshold rises
    return round(float(candidates[chosen]), 6)
