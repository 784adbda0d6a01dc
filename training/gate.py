"""Is a candidate worse than the current version? Both answer the same photos, and McNemar's test decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from scoring.score import score
from service.errors import SeeFoodError
from service.model import Model
from training.folders import labelled

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models on the same photos.

    Attributes:
        photos: how many both answered.
        gained: how many only the candidate gets right.
        lost: how many only the current version gets right.
    """

    photos: int
    gained: int
    lost: int

    @property
    def p_worse(self) -> float:
        """Return the chance in [0, 1] of so many losses among the differences if the two were equally good.

        McNemar 1947 (doi:10.1007/BF02295996), exact and one-sided.
        """
        differing = self.gained + self.lost
        return float(binomtest(self.lost, differing, alternative="greater").pvalue) if differing else 1.0

    @property
    def worse(self) -> bool:
        """Return whether the candidate is worse beyond chance."""
        return self.p_worse < SIGNIFICANCE

    def __str__(self) -> str:
        return (
            f"of {self.photos} photos the candidate gets {self.gained} right that the current version does not, and "
            f"{self.lost} wrong that it does (p = {self.p_worse:.3f} that this is chance)"
        )


def compare(current: Model, candidate: Model, folders: Sequence[Path]) -> Comparison:
    """Let two models answer the photos of labelled folders, through the serving path.

    Raises:
        SeeFoodError: the models have other labels than each other or than the folders.
    """
    labels = [(model.metadata.positive_label, model.metadata.negative_label) for model in (current, candidate)]
    if labels[0] != labels[1]:
        raise SeeFoodError(
            f"The current version tells {labels[0][0]} from {labels[0][1]} and the candidate {labels[1][0]} from "
            f"{labels[1][1]}: they can't be compared; promote it with --force."
        )
    rights = [np.concatenate([_right(model, folder) for folder in folders]) for model in (current, candidate)]
    old, new = rights
    return Comparison(len(old), int((new & ~old).sum()), int((old & ~new).sum()))


def _right(model: Model, folder: Path) -> npt.NDArray[np.bool_]:
    """Return bool [N]: which readable photos the model answers rightly."""
    photos = labelled(folder, model.metadata.positive_label, model.metadata.negative_label)
    answers = [answer for _, answer in score(model, photos.paths)]
    return np.array(
        [
            answer.positive == (target == 1)
            for answer, target in zip(answers, photos.targets, strict=True)
            if not isinstance(answer, str)
        ],
        bool,
    )
