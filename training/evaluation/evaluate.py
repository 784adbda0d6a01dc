"""Evaluation of a model on labelled photos, through the code that serves."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scoring.score import score
from service.errors import SeeFoodError
from service.model import Model
from service.photo import utf8
from service.registry import CURRENT, current_version, find_model
from training.data.photos import Photos, find_labelled
from training.evaluation.metrics import Array, Metric, by_class, compute_metrics, proportions
from training.evaluation.slices import find_slices

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mistake:
    """A photo with a wrong prediction, and its P(positive)."""

    path: Path
    probability: float


@dataclass(frozen=True)
class Slice:
    """Photos of the same source or kind.

    Attributes:
        by: `source` or `kind`.
        name: of the source or kind.
        photos: number of positive and of negative photos.
        metrics: accuracy, recall, false positive rate and the share of unfamiliar photos, as far as they are defined.
    """

    by: str
    name: str
    photos: tuple[int, int]
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Evaluation:
    """Result of one model on one folder.

    Attributes:
        photos: number of positive and of negative photos.
        metrics: by name, as far as they are defined; `unfamiliar` is the share of unfamiliar photos.
        mistakes: the wrong predictions, the most confident first.
        unreadable: files that were left out, with the reason.
        targets: 0 or 1, [N].
        probabilities: P(positive) in [0, 1], [N].
        slices: the least accurate first.
        paths: the N files.
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
        """Return counts, metrics and slices in the format of metrics.json."""
        slices: dict[str, dict[str, Any]] = {}
        for each in self.slices:
            slices.setdefault(each.by, {})[each.name] = _as_dict(each.photos, each.metrics)
        return _as_dict(self.photos, self.metrics) | ({"slices": slices} if slices else {})


def evaluate(model: Model, folder: Path) -> Evaluation:
    """Evaluate a folder that has a subfolder for one or both of the model's labels; raises SeeFoodError."""
    photos = find_labelled(folder, model.metadata.positive_label, model.metadata.negative_label)
    return evaluate_photos(model, photos)


def evaluate_folders(model: Model, folders: Sequence[Path]) -> dict[str, Evaluation]:
    """Evaluate test folders, by the last parts of their names; raises SeeFoodError.

    Two parts are enough to tell test/foods from test/objects, and do not show the home directory. More parts are used
    if two folders have the same last two.
    """
    names = [folder.resolve().parts for folder in folders]
    count = 2
    while len({name[-count:] for name in names}) < len(set(names)):
        count += 1
    return {utf8(Path(*name[-count:])): evaluate(model, folder) for name, folder in zip(names, folders, strict=True)}


def evaluate_photos(model: Model, photos: Photos) -> Evaluation:
    """Evaluate photos of the model's labels; raises SeeFoodError if none can be read."""
    results = [result for _, result in score(model, photos.paths)]
    verdicts = {i: result for i, result in enumerate(results) if not isinstance(result, str)}
    if not verdicts:
        raise SeeFoodError(
            f"None of {len(photos)} photos can be read; name another folder. "
            f"The reason for {photos.paths[0]}: {results[0]}"
        )
    scored = photos.take(verdicts)
    targets, threshold = scored.targets, model.metadata.threshold
    # In float32 the threshold would be rounded, and a photo on it could get another label than from the service.
    probabilities = np.array([verdict.probability for verdict in verdicts.values()], np.float64)
    predicted = np.array([verdict.positive for verdict in verdicts.values()], bool)
    unfamiliar = None
    if model.metadata.familiarity_level is not None:
        unfamiliar = np.array([verdict.unfamiliar for verdict in verdicts.values()], bool)
    mistakes = [Mistake(scored.paths[i], float(probabilities[i])) for i in np.flatnonzero(predicted != (targets == 1))]
    return Evaluation(
        photos=scored.counts(),
        metrics=compute_metrics(targets, probabilities, threshold, unfamiliar),
        mistakes=sorted(mistakes, key=lambda mistake: -abs(mistake.probability - threshold)),
        unreadable={photos.paths[i]: result for i, result in enumerate(results) if isinstance(result, str)},
        targets=targets,
        probabilities=probabilities,
        slices=_evaluate_slices(scored, predicted, unfamiliar),
        paths=scored.paths,
    )


def evaluate_current(
    models: Path, labels: tuple[str, str], folders: Sequence[Path]
) -> tuple[str, dict[str, Evaluation]]:
    """Evaluate the int8 file of the current version on test folders.

    Args:
        models: folder of the registry.
        labels: the positive and the negative label.
        folders: the test folders.

    Returns:
        The name of the version, and the evaluations; nothing if there is no current version, it has other labels, or it
        can't be opened (with a warning).
    """
    if not folders or not (models / CURRENT).exists():
        return "", {}
    try:
        version = current_version(models)
        model = Model(find_model(models, version, "int8"))
    except SeeFoodError as error:
        _log.warning("The card has no comparison with the current version: %s", error)
        return "", {}
    if (model.metadata.positive_label, model.metadata.negative_label) != labels:
        return "", {}
    return version, evaluate_folders(model, folders)


def _evaluate_slices(photos: Photos, predicted: Array, unfamiliar: Array | None) -> tuple[Slice, ...]:
    slices = []
    for by, parts in find_slices(photos).items():
        for name, indices in parts.items():
            part = photos.take(indices)
            truth = part.targets == 1
            hits = {"accuracy": truth == predicted[indices], **by_class(truth, predicted[indices])}
            if unfamiliar is not None:
                hits["unfamiliar"] = unfamiliar[indices]
            slices.append(Slice(by, name, part.counts(), proportions(hits)))
    return tuple(sorted(slices, key=lambda each: each.metrics["accuracy"].value))


def _as_dict(photos: tuple[int, int], metrics: Mapping[str, Metric]) -> dict[str, Any]:
    counts = {"positive": photos[0], "negative": photos[1]}
    return {"photos": counts, **{name: asdict(metric) for name, metric in metrics.items()}}
