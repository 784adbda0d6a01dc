"""Label issues: photos that look mislabelled, found by confident learning on out-of-fold predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cleanlab import filter as cleanlab_filter

from training.data.photos import Photos

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelIssue:
    """A photo, its label, and the probability of that label in [0, 1]."""

    path: Path
    label: str
    quality: float


def find_label_issues(photos: Photos, probabilities: Array) -> tuple[LabelIssue, ...]:
    """Return the photos that look mislabelled, the least probable label first.

    Confident learning: Northcutt et al. 2021, arXiv:1911.00068.

    Args:
        photos: with their labels.
        probabilities: P(positive) of each photo, [N] in [0, 1], by models that were not trained on it.
    """
    both = np.stack([1 - probabilities, probabilities], axis=1)
    targets, labels = photos.targets.astype(int), photos.labels()
    ranked = cleanlab_filter.find_label_issues(targets, both, return_indices_ranked_by="self_confidence", n_jobs=1)
    return tuple(LabelIssue(photos.paths[i], labels[i], round(float(both[i, targets[i]]), 4)) for i in ranked)


def issues_as_json(issues: Sequence[LabelIssue]) -> list[Mapping[str, object]]:
    """Return the label issues in the format of findings.json."""
    return [{"photo": str(each.path), "label": each.label, "quality": each.quality} for each in issues]
