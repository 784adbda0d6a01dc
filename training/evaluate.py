"""Metrics with 95% intervals, through the code path that serves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from service.errors import SeeFoodError
from service.model import Model
from service.scoring import score
from training.folders import Photos, labelled

Array = npt.NDArray[Any]

_RESAMPLES = 1000
_BINS = 10


@dataclass(frozen=True)
class Metric:
    """A measured value in [0, 1] with the bounds of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} - {self.high:.3f})"


@dataclass(frozen=True)
class Mistake:
    """A photo that the model gets wrong, with the P(positive) that it gave."""

    path: Path
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """What one model makes of one folder.

    Attributes:
        photos: how many of the positive and of the negative class were scored.
        metrics: by name; those that need a class the folder lacks are absent.
        mistakes: the wrong verdicts, the surest first.
        unreadable: files that were left out, with the reason.
        targets: 0 or 1, [N], of the photos that were scored.
        probabilities: P(positive) in [0, 1], [N], of the same.
    """

    photos: tuple[int, int]
    metrics: dict[str, Metric]
    mistakes: list[Mistake]
    unreadable: dict[Path, str]
    targets: Array
    probabilities: Array

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and metrics as JSON can hold them."""
        return {
            "photos": {"positive": self.photos[0], "negative": self.photos[1]},
            **{name: asdict(metric) for name, metric in self.metrics.items()},
        }


def evaluate(model: Model, folder: Path) -> Evaluation:
    """Score a folder that has a subfolder for one or both of the model's labels; raises SeeFoodError otherwise."""
    photos = labelled(folder, model.metadata.positive_label, model.metadata.negative_label)
    return evaluate_photos(model, photos)


def evaluate_photos(model: Model, photos: Photos) -> Evaluation:
    """Score photos of the model's labels; raises SeeFoodError where none of them can be read."""
    answers = [answer for _, answer in score(model, photos.paths)]
    readable = [i for i, answer in enumerate(answers) if not isinstance(answer, str)]
    if not readable:
        raise SeeFoodError(f"None of {len(photos)} photos can be read; {photos.paths[0]}: {answers[0]}")
    targets = photos.targets[readable]
    probabilities = np.array([answers[i] for i in readable], np.float32)
    wrong = (probabilities >= model.metadata.threshold) != (targets == 1)
    mistakes = [Mistake(photos.paths[readable[i]], float(probabilities[i])) for i in np.flatnonzero(wrong)]
    return Evaluation(
        photos=(int(targets.sum()), int((1 - targets).sum())),
        metrics=measure(targets, probabilities, model.metadata.threshold),
        mistakes=sorted(mistakes, key=lambda mistake: -abs(mistake.probability - model.metadata.threshold)),
        unreadable={photos.paths[i]: answer for i, answer in enumerate(answers) if isinstance(answer, str)},
        targets=targets,
        probabilities=probabilities,
    )


def measure(targets: Array, probabilities: Array, threshold: float) -> dict[str, Metric]:
    """Compute what can be computed: targets 0 or 1 [N], probabilities in [0, 1] [N].

    Plain shares have Wilson's interval (1927), right for the rare errors that a bootstrap can't see: none wrong of 249
    is no proof of 0. What combines the classes has a percentile bootstrap's, resampled within each class.
    """
    truth, said = targets == 1, probabilities >= threshold
    shares = {
        "accuracy": truth == said,
        "precision": truth[said],
        "recall": said[truth],
        "false_positive_rate": said[~truth],
    }
    metrics = {name: _share(hits) for name, hits in shares.items() if len(hits)}
    if truth.all() or not truth.any():
        metrics.pop("precision", None)  # of one class alone it is 0 or 1, whatever the model does
    else:
        metrics |= _bootstrapped(truth, probabilities, threshold)
    return metrics


def calibration_error(targets: Array, probabilities: Array) -> float:
    """Return the expected calibration error in [0, 1], over ten equal bins of P(positive) (arXiv:1706.04599)."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, targets - probabilities, _BINS)
    return float(np.abs(gaps).sum() / len(targets))


def _share(hits: Array) -> Metric:
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
    said = probabilities >= threshold
    return {
        "balanced_accuracy": float((said[truth].mean() + (~said[~truth]).mean()) / 2),
        "f1": float(2 * (truth & said).sum() / (truth.sum() + said.sum())),
        "roc_auc": float(roc_auc_score(truth, probabilities)),
        "pr_auc": float(average_precision_score(truth, probabilities)),
        "calibration_error": calibration_error(truth.astype(float), probabilities),
    }
