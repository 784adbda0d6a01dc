"""Photos whose label looks wrong, ranked: confident learning on predictions by probes that did not see them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cleanlab.filter import find_label_issues

from training.data.folders import Photos

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Suspect:
    """A photo, the label that it stands under, and in [0, 1] how well that label fits."""

    path: Path
    label: str
    quality: float


def find_suspects(photos: Photos, probabilities: Array) -> tuple[Suspect, ...]:
    """Return the photos that look mislabelled, the most suspicious first (Northcutt et al. 2021, arXiv:1911.00068).

    Args:
        photos: with their labels.
        probabilities: P(positive) of each, [N] in [0, 1], by models that were fitted without it.
    """
    both = np.stack([1 - probabilities, probabilities], axis=1)
    labels = photos.targets.astype(int)
    ranked = find_label_issues(labels, both, return_indices_ranked_by="self_confidence", n_jobs=1)
    names = photos.negative, photos.positive
    return tuple(Suspect(photos.paths[i], names[labels[i]], round(float(both[i, labels[i]]), 4)) for i in ranked)


def as_json(suspects: Sequence[Suspect]) -> list[Mapping[str, object]]:
    """Return the suspects as JSON can hold them."""
    return [{"photo": str(each.path), "label": each.label, "quality": each.quality} for each in suspects]
