"""Metrics with 95% intervals, through the code path that serves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import roc_auc_score

from service.errors import SeeFoodError
from service.model import Model
from service.scoring import score
from training.folders import labelled

Array = npt.NDArray[Any]

_RESAMPLES = 1000


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
    """

    photos: tuple[int, int]
    metrics: dict[str, Metric]
    mistakes: list[Mistake]
    unreadable: dict[Path, str]

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and metrics as JSON can hold them."""
        return {
            "photos": {"positive": self.photos[0], "negative": self.photos[1]},
            **{name: asdict(metric) for name, metric in self.metrics.items()},
        }


def evaluate(model: Model, folder: Path) -> Evaluation:
    """Score a folder that has a subfolder for one or both of the model's labels; raises SeeFoodError otherwise."""
    photos = labelled(folder, model.metadata.positive_label, model.metadata.negative_label)
    answers = [answer for _, answer in score(model, photos.paths)]
    readable = [i for i, answer in enumerate(answers) if not isinstance(answer, str)]
    if not readable:
        raise SeeFoodError(f"None of the {len(photos)} photos in {folder} can be read; the first: {answers[0]}")
    targets = photos.targets[readable]
    probabilities = np.array([answers[i] for i in readable], np.float32)
    wrong = (probabilities >= model.metadata.threshold) != (targets == 1)
    mistakes = [Mistake(photos.paths[readable[i]], float(probabilities[i])) for i in np.flatnonzero(wrong)]
    return Evaluation(
        photos=(int(targets.sum()), int((1 - targets).sum())),
        metrics=measure(targets, probabilities, model.metadata.threshold),
        mistakes=sorted(mistakes, key=lambda mistake: -abs(mistake.probability - model.metadata.threshold)),
        unreadable={photos.paths[i]: answer for i, answer in enumerate(answers) if isinstance(answer, str)},
    )


def measure(targets: Array, probabilities: Array, threshold: float) -> dict[str, Metric]:
    """Compute what can be computed: targets 0 or 1 [N], probabilities in [0, 1] [N].

    Shares have Wilson's interval (1927), right for the rare errors that a bootstrap can't see; the area under the ROC
    curve has a percentile bootstrap's.
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
    elif min(truth.sum(), (~truth).sum()) >= 2:  # fewer can't be resampled
        metrics["roc_auc"] = _roc_auc(truth, probabilities)
    return metrics


def _share(hits: Array) -> Metric:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Metric(float(hits.mean()), float(interval.low), float(interval.high))


def _roc_auc(truth: Array, probabilities: Array) -> Metric:
    positive, negative = probabilities[truth], probabilities[~truth]

    def area(positive: Array, negative: Array) -> float:
        labels = np.repeat([1, 0], [len(positive), len(negative)])
        return float(roc_auc_score(labels, np.concatenate([positive, negative])))

    resampled = bootstrap(
        (positive, negative), area, n_resamples=_RESAMPLES, vectorized=False, method="percentile", rng=0
    ).confidence_interval
    return Metric(area(positive, negative), float(resampled.low), float(resampled.high))
