"""Comparison of a candidate with the version in use on the same photos, on all of them and on each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from scoring.score import score
from service.errors import SeeFoodError
from service.model import Model
from training.data.photos import Photos, find_all_labelled
from training.evaluation.slices import find_slices

SIGNIFICANCE = 0.05  # probability that an equally good candidate is rejected
MIN_PHOTOS = 50  # of a slice: with fewer, only losses above about a fifth are significant


@dataclass(frozen=True)
class Comparison:
    """Two models on the same photos.

    Attributes:
        photos: number of photos.
        gained: number that only the candidate gets right.
        lost: number that only the version in use gets right.
        part: the slice, such as `kind apple_pie`; empty: all photos.
    """

    photos: int
    gained: int
    lost: int
    part: str = ""

    @property
    def p_worse(self) -> float:
        """Return the probability in [0, 1] of at least this many losses if both models are equally good.

        McNemar's test (1947, doi:10.1007/BF02295996), exact and one-sided.
        """
        different = self.gained + self.lost
        return float(binomtest(self.lost, different, alternative="greater").pvalue) if different else 1.0

    def __str__(self) -> str:
        return (
            f"of {self.photos} photos{f' of {self.part}' if self.part else ''}, only the candidate is right on "
            f"{self.gained}, and only the version in use is right on {self.lost}"
        )


@dataclass(frozen=True)
class Change:
    """A photo that only one of the two models gets right.

    Attributes:
        path: the file.
        group: name of its group; empty if there is only one.
        label: its label.
        gained: whether the candidate gets it right.
        before, after: P(positive) in [0, 1] by the version in use and by the candidate.
    """

    path: Path
    group: str
    label: str
    gained: bool
    before: float
    after: float


@dataclass(frozen=True)
class SlicedComparison:
    """The comparison on all photos, on each group, and on each slice of at least MIN_PHOTOS photos.

    Attributes:
        overall: on all photos.
        slices: on the groups, if there are several, and on the slices.
        changes: the photos that only one model gets right.
    """

    overall: Comparison
    slices: tuple[Comparison, ...] = ()
    changes: tuple[Change, ...] = field(default=(), compare=False)

    @property
    def p_values(self) -> list[tuple[Comparison, float]]:
        """Return all comparisons with their adjusted p-values, the smallest first."""
        comparisons = sorted((self.overall, *self.slices), key=lambda comparison: comparison.p_worse)
        adjusted = holm([comparison.p_worse for comparison in comparisons])
        return list(zip(comparisons, adjusted, strict=True))

    @property
    def worse(self) -> list[Comparison]:
        """Return the comparisons in which the candidate is significantly worse, the smallest p-value first."""
        return [comparison for comparison, p in self.p_values if p < SIGNIFICANCE]

    def __str__(self) -> str:
        first, *others = self.worse or [self.overall]
        p = dict(self.p_values)[first]
        level = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
        correction = f" by Holm's correction for {1 + len(self.slices)} comparisons" if self.slices else ""
        rest = "; no slice is significantly worse" if self.slices and not self.worse else ""
        if others:
            rest = f"; also worse: {', '.join(other.part or 'all photos' for other in others)}"
        return f"{first} ({level}{correction}){rest}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust ascending p-values for multiple tests, so that the probability of any false alarm keeps the level.

    Holm 1979, A simple sequentially rejective multiple test procedure (Scandinavian Journal of Statistics 6, 65-70).
    """
    scaled = [min(1.0, p * (len(p_values) - rank)) for rank, p in enumerate(p_values)]
    return [float(p) for p in np.maximum.accumulate(scaled)]


def compare(in_use: Model, candidate: Model, folders: Sequence[Path]) -> SlicedComparison:
    """Compare two models on the photos of labelled folders; errors are those of `compare_groups` and of the folders."""
    labels = in_use.metadata.positive_label, in_use.metadata.negative_label
    return compare_groups(in_use, candidate, {"": find_all_labelled(folders, *labels)})


def compare_groups(in_use: Model, candidate: Model, groups: Mapping[str, Photos]) -> SlicedComparison:
    """Compare two models on groups of photos, through the code that serves.

    Args:
        in_use: the version in use.
        candidate: the other version.
        groups: the photos, by the name of the group; several groups are compared like slices, whatever their size.

    Raises:
        SeeFoodError: the models have different labels, or no photo can be read.
    """
    labels = [(model.metadata.positive_label, model.metadata.negative_label) for model in (in_use, candidate)]
    if labels[0] != labels[1]:
        raise SeeFoodError(
            f"The version in use has the labels {labels[0][0]} and {labels[0][1]}, the candidate {labels[1][0]} and "
            f"{labels[1][1]}: they can't be compared; promote it with --force."
        )
    photos = reduce(Photos.plus, groups.values())
    group_of = np.repeat(list(groups), [len(each) for each in groups.values()])
    results = [[result for _, result in score(model, photos.paths)] for model in (in_use, candidate)]
    pairs = list(enumerate(zip(*results, strict=True)))
    verdicts = {i: (old, new) for i, (old, new) in pairs if not (isinstance(old, str) or isinstance(new, str))}
    if not verdicts:
        raise SeeFoodError(
            f"None of {len(photos)} photos can be read; name another folder. "
            f"The reason for {photos.paths[0]}: {results[0][0]}"
        )
    photos, group_of = photos.take(verdicts), group_of[list(verdicts)]
    old, new = (np.array([pair[i].positive for pair in verdicts.values()]) == (photos.targets == 1) for i in (0, 1))
    parts = {f"{by} {name}": part for by, found in find_slices(photos).items() for name, part in found.items()}
    by_group = {group: np.flatnonzero(group_of == group) for group in groups} if len(groups) > 1 else {}
    return SlicedComparison(
        _count(old, new),
        (
            *(_count(old[part], new[part], group) for group, part in by_group.items() if len(part)),
            *(_count(old[part], new[part], name) for name, part in parts.items() if len(part) >= MIN_PHOTOS),
        ),
        tuple(
            Change(path, str(group), label, bool(now), before.probability, after.probability)
            for path, group, label, now, was, (before, after) in zip(
                photos.paths, group_of, photos.labels(), new, old, verdicts.values(), strict=True
            )
            if now != was
        ),
    )


def _count(old: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_], part: str = "") -> Comparison:
    return Comparison(len(old), int((new & ~old).sum()), int((old & ~new).sum()), part)
