"""Calibration: temperature, bias, threshold and uncertain range, from validation photos only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from service.metadata import HISTOGRAM_BINS
from training.config import ThresholdTarget

Array = npt.NDArray[np.float32]

_HUNDREDTHS = np.linspace(0.01, 0.99, 99)
_UNCERTAIN = 0.25  # a prediction is uncertain if its calibrated probability of an error is above this
_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Calibration of a logit: probability = sigmoid(logit / temperature + bias).

    Attributes:
        temperature, bias: as above.
        threshold: the prediction is positive at this probability or above.
        uncertain_low, uncertain_high: the prediction is uncertain between these probabilities.
        error_before, error_after: calibration error in [0, 1] on the validation photos, before and after.
    """

    temperature: float
    bias: float
    threshold: float
    uncertain_low: float
    uncertain_high: float
    error_before: float
    error_after: float

    def histogram(self, logits: Array, weights: Array) -> tuple[int, ...]:
        """Return the number of photos in each of HISTOGRAM_BINS bins of the probability, by weights with mean 1."""
        probabilities = expit(logits / self.temperature + self.bias)
        counts, _ = np.histogram(probabilities, HISTOGRAM_BINS, (0, 1), weights=weights)
        return tuple(int(count) for count in counts.round())


def calibrate(
    logits: Array, targets: Array, threshold_target: ThresholdTarget, prevalence: float | None = None
) -> Calibration:
    """Fit temperature and bias, then choose the threshold.

    Args:
        logits: float32 [N], of validation photos.
        targets: float32 [N], 0 or 1.
        threshold_target: metric that chooses the threshold. If no threshold reaches it, the nearest one is chosen.
        prevalence: expected share of positive photos in use, in (0, 1); the validation photos are weighted to this
            share. None: no weights.
    """
    weights = prevalence_weights(targets, prevalence)
    temperature, bias = _fit_temperature_and_bias(logits, targets, weights)
    probabilities = expit(logits / temperature + bias)
    threshold = _threshold(probabilities, targets == 1, threshold_target, weights)
    low, high = min(_UNCERTAIN, threshold - 0.05), max(1 - _UNCERTAIN, threshold + 0.05)
    return Calibration(
        temperature,
        bias,
        threshold,
        uncertain_low=round(max(low, 0.0), 3),
        uncertain_high=round(min(high, 1.0), 3),
        error_before=calibration_error(targets, expit(logits), weights),
        error_after=calibration_error(targets, probabilities, weights),
    )


def calibration_error(
    targets: npt.NDArray[np.floating], probabilities: npt.NDArray[np.floating], weights: Array | None = None
) -> float:
    """Return the expected calibration error in [0, 1], over ten equal bins of P(positive) (arXiv:1706.04599).

    Args:
        targets: 0 or 1, [N].
        probabilities: P(positive) in [0, 1], [N].
        weights: of the photos, [N]; None: all equal.
    """
    weights = np.ones(len(targets), np.float32) if weights is None else weights
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights * (targets - probabilities), _BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def prevalence_weights(targets: Array, prevalence: float | None) -> Array:
    """Return weights of the photos, float32 [N] with mean 1, that give the positive photos the share `prevalence`."""
    if prevalence is None:
        return np.ones(len(targets), np.float32)
    share = float(targets.mean())
    return np.where(targets == 1, prevalence / share, (1 - prevalence) / (1 - share)).astype(np.float32)


def _fit_temperature_and_bias(logits: Array, targets: Array, weights: Array) -> tuple[float, float]:
    """Minimise the validation loss over temperature (Guo et al. 2017, arXiv:1706.04599) and bias (Platt 1999).

    The bias corrects a shift of all logits, such as that of another class balance or of a larger input square.
    """
    signs = np.where(targets == 1, 1.0, -1.0)

    def loss(values: npt.NDArray[np.float64]) -> float:
        return float(-(weights * log_expit(signs * (logits / np.exp(values[0]) + values[1]))).mean())

    fitted = minimize(loss, [0.0, 0.0], bounds=[(-7, 3), (-10, 10)], method="Nelder-Mead")
    return float(np.exp(fitted.x[0])), float(fitted.x[1])


def _threshold(
    probabilities: Array, truth: npt.NDArray[np.bool_], threshold_target: ThresholdTarget, weights: Array
) -> float:
    """Choose among hundredths of the probability and percentiles of the photos.

    For accuracy, choose the threshold nearest to 0.5 whose accuracy is within one standard error of the best (the rule
    of Breiman et al. 1984). 0.5 is right for a calibrated probability, and the best threshold of few photos is noise.
    """
    candidates = np.sort(np.concatenate([_HUNDREDTHS, np.quantile(probabilities, _HUNDREDTHS)]))
    predicted = probabilities[:, None] >= candidates
    true_positives, false_positives = ((predicted & side[:, None]) * weights[:, None] for side in (truth, ~truth))
    true_positives, false_positives = true_positives.sum(axis=0), false_positives.sum(axis=0)
    if threshold_target.metric == "accuracy":
        accuracy = (true_positives + weights[~truth].sum() - false_positives) / weights.sum()
        best = accuracy.max()
        good = accuracy >= best - np.sqrt(best * (1 - best) / len(truth))
        chosen = np.where(good, np.abs(candidates - 0.5), np.inf).argmin()
    elif threshold_target.metric == "precision":
        precision = true_positives / np.maximum(true_positives + false_positives, 1e-9)
        reached = precision >= threshold_target.value
        chosen = reached.argmax() if reached.any() else precision.argmax()  # the first one has the highest recall
    else:
        enough = true_positives >= threshold_target.value * weights[truth].sum() - 1e-6
        chosen = np.flatnonzero(enough).max(initial=0)  # recall falls as the threshold rises
    return round(float(candidates[chosen]), 6)
