"""Is a candidate worse than the version in use? Both answer the same photos; tests on all and on each slice decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from scoring.score import score
from service.errors import SeeFoodError
from service.model import Model, Verdict
from training.data.folders import Photos, labelled
from training.evaluation.slices import slices

SIGNIFICANCE = 0.05  # the chance that a candidate that is equal everywhere is refused
MIN_PHOTOS = 50  # of a slice: with fewer, hardly a loss below a fifth would be beyond chance


@dataclass(frozen=True)
class Comparison:
    """Two models on the same photos.

    Attributes:
        photos: how many both answered.
        gained: how many only the candidate gets right.
        lost: how many only the version in use gets right.
        part: which slice the photos are, such as `kind apple_pie`; empty: all photos.
    """

    photos: int
    gained: int
    lost: int
    part: str = ""

    @property
    def p_worse(self) -> float:
        """Return the chance in [0, 1] of so many losses among the differences if the two were equally good.

        McNemar 1947 (doi:10.1007/BF02295996), exact and one-sided.
        """
        differing = self.gained + self.lost
        return float(binomtest(self.lost, differing, alternative="greater").pvalue) if differing else 1.0

    def __str__(self) -> str:
        return (
            f"of {self.photos} photos{f' of {self.part}' if self.part else ''} the candidate gets {self.gained} right "
            f"that the version in use does not, and {self.lost} wrong that it does"
        )


@dataclass(frozen=True)
class Trial:
    """The comparison on all photos, and those on each slice of at least MIN_PHOTOS."""

    whole: Comparison
    slices: tuple[Comparison, ...] = ()

    @property
    def tested(self) -> list[tuple[Comparison, float]]:
        """Return all comparisons with their adjusted p-values, the smallest first."""
        comparisons = sorted((self.whole, *self.slices), key=lambda comparison: comparison.p_worse)
        adjusted = holm([comparison.p_worse for comparison in comparisons])
        return list(zip(comparisons, adjusted, strict=True))

    @property
    def worse(self) -> list[Comparison]:
        """Return the comparisons in which the candidate is worse beyond chance, the surest first."""
        return [comparison for comparison, p in self.tested if p < SIGNIFICANCE]

    def __str__(self) -> str:
        first, *others = self.worse or [self.whole]
        p = dict(self.tested)[first]
        level = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
        correction = f" by Holm's correction for {1 + len(self.slices)} comparisons" if self.slices else ""
        rest = "; no slice is worse beyond chance" if self.slices and not self.worse else ""
        if others:
            rest = f"; also worse: {', '.join(other.part or 'all photos' for other in others)}"
        return f"{first} ({level}{correction}){rest}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust ascending p-values, so that the chance of any false alarm among all the tests is no more than the level.

    Holm 1979, A simple sequentially rejective multiple test procedure (Scandinavian Journal of Statistics 6, 65-70).
    """
    scaled = [min(1.0, p * (len(p_values) - rank)) for rank, p in enumerate(p_values)]
    return [float(p) for p in np.maximum.accumulate(scaled)]


def compare(in_use: Model, candidate: Model, folders: Sequence[Path]) -> Trial:
    """Let two models answer the photos of labelled folders, through the serving path.

    Raises:
        SeeFoodError: the models have other labels than each other or than the folders, or no photo can be read.
    """
    labels = [(model.metadata.positive_label, model.metadata.negative_label) for model in (in_use, candidate)]
    if labels[0] != labels[1]:
        raise SeeFoodError(
            f"The version in use tells {labels[0][0]} from {labels[0][1]} and the candidate {labels[1][0]} from "
            f"{labels[1][1]}: they can't be compared; promote it with --force."
        )
    photos = reduce(Photos.plus, [labelled(folder, *labels[0]) for folder in folders])
    answers = [[answer for _, answer in score(model, photos.paths)] for model in (in_use, candidate)]
    readable = [i for i, pair in enumerate(zip(*answers, strict=True)) if not any(isinstance(one, str) for one in pair)]
    if not readable:
        raise SeeFoodError(f"None of {len(photos)} photos can be read; {photos.paths[0]}: {answers[0][0]}")
    photos = photos.take(readable)
    said = [[isinstance(one, Verdict) and one.positive for one in each] for each in answers]
    old, new = (np.array(each)[readable] == (photos.targets == 1) for each in said)
    parts = {f"{by} {name}": part for by, found in slices(photos).items() for name, part in found.items()}
    return Trial(
        _count(old, new),
        tuple(_count(old[part], new[part], name) for name, part in parts.items() if len(part) >= MIN_PHOTOS),
    )


def _count(old: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_], part: str = "") -> Comparison:
    return Comparison(len(old), int((new & ~old).sum()), int((old & ~new).sum()), part)
