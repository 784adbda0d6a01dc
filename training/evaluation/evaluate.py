"""Metrics with 95% intervals, through the code path that serves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from scoring.score import score
from service.errors import SeeFoodError
from service.model import Model
from training.data.folders import Photos, labelled
from training.evaluation.slices import slices
from training.text_table import Row

Array = npt.NDArray[Any]

_SHARES = ("accuracy", "recall", "false_positive_rate", "unfamiliar")  # of a slice
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
class Slice:
    """A part of the photos with something in common.

    Attributes:
        by: what they have in common: `source` or `kind`.
        name: which source, or which kind.
        photos: how many of the positive and of the negative class were scored.
        metrics: accuracy, recall, false positive rate and the share of unfamiliar photos; those that need a class the
            slice lacks are absent, and the last where the model can't tell.
    """

    by: str
    name: str
    photos: tuple[int, int]
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Evaluation:
    """What one model makes of one folder.

    Attributes:
        photos: how many of the positive and of the negative class were scored.
        metrics: by name; those that need a class the folder lacks are absent, and `unfamiliar`, the share of photos
            that are unfamiliar, where the model can't tell.
        mistakes: the wrong verdicts, the surest first.
        unreadable: files that were left out, with the reason.
        targets: 0 or 1, [N], of the photos that were scored.
        probabilities: P(positive) in [0, 1], [N], of the same.
        slices: parts of the same, the least accurate first.
        paths: the files of the same.
    """

    photos: tuple[int, int]
    metrics: dict[str, Metric]
    mistakes: list[Mistake]
    unreadable: dict[Path, str]
    targets: Array
    probabilities: Array
    slices: tuple[Slice, ...] = ()
    paths: tuple[Path, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and metrics as JSON can hold them, those of slices by what they share and by name."""
        parts: dict[str, dict[str, Any]] = {}
        for part in self.slices:
            parts.setdefault(part.by, {})[part.name] = _as_dict(part.photos, part.metrics)
        return _as_dict(self.photos, self.metrics) | ({"slices": parts} if parts else {})


def slice_tables(slices: Sequence[Slice]) -> dict[str, list[Row]]:
    """Return a table of slices for each thing that they share, its heading first; a share that none has is left out."""
    tables = {}
    for by in sorted({part.by for part in slices}, reverse=True):
        parts = [part for part in slices if part.by == by]
        shares = [name for name in _SHARES if any(name in part.metrics for part in parts)]
        heading = (by, "photos", *(name.replace("_", " ") for name in shares))
        rows = [
            (part.name, str(sum(part.photos)), *(str(part.metrics.get(name, "-")) for name in shares)) for part in parts
        ]
        tables[by] = [heading, *rows]
    return tables


def verdict_tables(evaluations: Mapping[str, Evaluation], positive_label: str) -> dict[str, list[Row]]:
    """Return a table of kinds, and one of sources where there are any, of one or several folders, the heading first.

    Each slice has the share of its negatives that are called positive, the recall of its positives, and the share of
    its photos that are unfamiliar; a column that no slice has is left out. The least accurate come first, and after the
    kinds all photos of each folder.
    """
    tables = {}
    for by in ("kind", "source"):
        parts = [(folder, part) for folder, found in evaluations.items() for part in found.slices if part.by == by]
        parts.sort(key=lambda each: each[1].metrics["accuracy"].value)
        if by == "kind":
            parts += [(name, Slice(by, "(all)", found.photos, found.metrics)) for name, found in evaluations.items()]
        shares = {"false_positive_rate": f"called {positive_label}", "recall": "recall", "unfamiliar": "unfamiliar"}
        shown = [share for share in shares if any(share in part.metrics for _, part in parts)]
        rows = [(by, "photos", *(shares[share] for share in shown), "folder")]
        for folder, part in parts:
            figures = (str(part.metrics.get(share, "-")) for share in shown)
            rows.append((part.name, str(sum(part.photos)), *figures, folder))
        if parts:
            tables[by] = rows if len(evaluations) > 1 else [row[:-1] for row in rows]
    return tables


def comparison_table(now: Evaluation, before: Evaluation, labels: tuple[str, str], version: str) -> list[Row]:
    """Return a table of what two models make of the same folder, by kind and label, the heading first.

    Each row has the share of its photos that this model and the one before call positive: the recall of positives, the
    false positive rate of negatives. All photos of each label come last.

    Args:
        now: of this model.
        before: of the other one, on the same photos.
        labels: the positive and the negative one.
        version: what the other model is called.
    """
    parts, others = (
        [*(part for part in each.slices if part.by == "kind"), Slice("kind", "(all)", each.photos, each.metrics)]
        for each in (now, before)
    )
    earlier = {part.name: part.metrics for part in others}
    called = f"called {labels[0]}"
    rows: list[Row] = [("kind", "label", "photos", f"{called}, this version", f"{called}, version {version} before")]
    for part in parts:
        for label, count, share in zip(labels, part.photos, ("recall", "false_positive_rate"), strict=True):
            if count:
                figures = (str(metrics.get(share, "-")) for metrics in (part.metrics, earlier.get(part.name, {})))
                rows.append((part.name, label, str(count), *figures))
    return rows


def evaluate(model: Model, folder: Path) -> Evaluation:
    """Score a folder that has a subfolder for one or both of the model's labels; raises SeeFoodError otherwise."""
    photos = labelled(folder, model.metadata.positive_label, model.metadata.negative_label)
    return evaluate_photos(model, photos)


def evaluate_photos(model: Model, photos: Photos) -> Evaluation:
    """Score photos of the model's labels; raises SeeFoodError where none of them can be read."""
    answers = [answer for _, answer in score(model, photos.paths)]
    verdicts = {i: answer for i, answer in enumerate(answers) if not isinstance(answer, str)}
    readable = list(verdicts)
    if not readable:
        raise SeeFoodError(f"None of {len(photos)} photos can be read; {photos.paths[0]}: {answers[0]}")
    scored = photos.take(readable)
    targets = scored.targets
    probabilities = np.array([verdict.probability for verdict in verdicts.values()], np.float32)
    unfamiliar = None
    if model.metadata.familiarity_level is not None:
        unfamiliar = np.array([verdict.unfamiliar for verdict in verdicts.values()], bool)
    wrong = (probabilities >= model.metadata.threshold) != (targets == 1)
    mistakes = [Mistake(scored.paths[i], float(probabilities[i])) for i in np.flatnonzero(wrong)]
    return Evaluation(
        photos=_counts(targets),
        metrics=measure(targets, probabilities, model.metadata.threshold, unfamiliar),
        mistakes=sorted(mistakes, key=lambda mistake: -abs(mistake.probability - model.metadata.threshold)),
        unreadable={photos.paths[i]: answer for i, answer in enumerate(answers) if isinstance(answer, str)},
        targets=targets,
        probabilities=probabilities,
        slices=_by_slice(scored, probabilities, model.metadata.threshold, unfamiliar),
        paths=scored.paths,
    )


def measure(
    targets: Array, probabilities: Array, threshold: float, unfamiliar: Array | None = None
) -> dict[str, Metric]:
    """Compute what can be computed: targets 0 or 1 [N], probabilities in [0, 1] [N], unfamiliar bool [N].

    Plain shares have Wilson's interval (1927), right for the rare errors that a bootstrap can't see: none wrong of 249
    is no proof of 0. What combines the classes has a percentile bootstrap's, resampled within each class.
    """
    truth, said = targets == 1, probabilities >= threshold
    metrics = _shares({"accuracy": truth == said, "precision": truth[said], **_of_one_class(truth, said)})
    if truth.all() or not truth.any():
        metrics.pop("precision", None)  # of one class alone it is 0 or 1, whatever the model does
    else:
        metrics |= _bootstrapped(truth, probabilities, threshold)
    return metrics if unfamiliar is None else metrics | _shares({"unfamiliar": unfamiliar})


def calibration_error(targets: Array, probabilities: Array, weights: Array | None = None) -> float:
    """Return the expected calibration error in [0, 1], over ten equal bins of P(positive) (arXiv:1706.04599)."""
    weights = np.ones(len(targets)) if weights is None else weights
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights * (targets - probabilities), _BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def _by_slice(photos: Photos, probabilities: Array, threshold: float, unfamiliar: Array | None) -> tuple[Slice, ...]:
    measured = []
    for by, parts in slices(photos).items():
        for name, part in parts.items():
            truth, said = photos.targets[part] == 1, probabilities[part] >= threshold
            hits = {"accuracy": truth == said, **_of_one_class(truth, said)}
            if unfamiliar is not None:
                hits["unfamiliar"] = unfamiliar[part]
            metrics = _shares(hits)
            measured.append(Slice(by, name, _counts(photos.targets[part]), metrics))
    return tuple(sorted(measured, key=lambda part: part.metrics["accuracy"].value))


def _of_one_class(truth: Array, said: Array) -> dict[str, Array]:
    return {"recall": said[truth], "false_positive_rate": said[~truth]}


def _counts(targets: Array) -> tuple[int, int]:
    return int(targets.sum()), int((1 - targets).sum())


def _as_dict(photos: tuple[int, int], metrics: Mapping[str, Metric]) -> dict[str, Any]:
    counts = {"positive": photos[0], "negative": photos[1]}
    return {"photos": counts, **{name: asdict(metric) for name, metric in metrics.items()}}


def _shares(hits: Mapping[str, Array]) -> dict[str, Metric]:
    return {name: _share(each) for name, each in hits.items() if len(each)}


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
