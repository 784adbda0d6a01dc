"""Metrics of a binary classifier with 95% intervals."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from training.model.calibration import calibration_error

Array = npt.NDArray[Any]

_RESAMPLES = 1000


@dataclass(frozen=True)
class Metric:
    """A value in [0, 1] with the bounds of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} - {self.high:.3f})"


def compute_metrics(
    targets: Array, probabilities: Array, threshold: float, unfamiliar: Array | None = None
) -> dict[str, Metric]:
    """Return all metrics that are defined for these photos, by name.

    Proportions have the Wilson interval (1927), because a bootstrap underestimates rare errors: 0 errors of 249 would
    get the interval [0, 0]. Metrics of both classes have a percentile bootstrap interval, resampled within each class.

    Args:
        targets: 0 or 1, [N].
        probabilities: P(positive) in [0, 1], [N].
        threshold: of the positive class, in [0, 1].
        unfamiliar: bool [N]; None: the model has no familiarity.
    """
    truth, predicted = targets == 1, probabilities >= threshold
    metrics = proportions({"accuracy": truth == predicted, "precision": truth[predicted], **by_class(truth, predicted)})
    if truth.all() or not truth.any():
        metrics.pop("precision", None)  # with one class it is 0 or 1 for every model
    else:
        metrics |= _bootstrapped(truth, probabilities, threshold)
    return metrics if unfamiliar is None else metrics | proportions({"unfamiliar": unfamiliar})


def by_class(truth: Array, predicted: Array) -> dict[str, Array]:
    """Return the predictions, bool, of the positive photos (recall) and of the negative ones (false positive rate)."""
    return {"recall": predicted[truth], "false_positive_rate": predicted[~truth]}


def proportions(hits: Mapping[str, Array]) -> dict[str, Metric]:
    """Return the proportion of true values of each bool array with its Wilson interval; empty arrays are omitted."""
    return {name: _proportion(each) for name, each in hits.items() if len(each)}


def mean_and_deviation(runs: Sequence[Mapping[str, Metric]]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each metric that all runs have; nothing for a single run."""
    if len(runs) == 1:
        return {}
    values: dict[str, list[float]] = {}
    for metrics in runs:
        for name, metric in metrics.items():
            values.setdefault(name, []).append(metric.value)
    return {
        name: (statistics.mean(found), statistics.stdev(found))
        for name, found in values.items()
        if len(found) == len(runs)  # precision is undefined if a run predicts no positive photo
    }


def _proportion(hits: Array) -> Metric:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Metric(float(hits.mean()), float(interval.low), float(interval.high))


def _bootstrapped(truth: Array, probabilities: Array, threshold: float) -> dict[str, Metric]:
    random = np.random.default_rng(0)
    classes = np.flatnonzero(truth), np.flatnonzero(~truth)
    resampled = []
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([random.choice(members, len(members)) for members in classes])
        resampled.append(_of_both_classes(truth[chosen], probabilities[chosen], threshold))
    low, high = np.percentile([list(values.values()) for values in resampled], [2.5, 97.5], axis=0)
    values = _of_both_classes(truth, probabilities, threshold)
    return {name: Metric(value, float(low[i]), float(high[i])) for i, (name, value) in enumerate(values.items())}


def _of_both_classes(truth: Array, probabilities: Array, threshold: float) -> dict[str, float]:
    predicted = probabilities >= threshold
    return {
        "balanced_accuracy": float((predicted[truth].mean() + (~predicted[~truth]).mean()) / 2),
        "f1": float(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())),
        "roc_auc": float(roc_auc_score(truth, probabilities)),
        "pr_auc": float(average_precision_score(truth, probabilities)),
        "calibration_error": calibration_error(truth.astype(float), probabilities),
    }
