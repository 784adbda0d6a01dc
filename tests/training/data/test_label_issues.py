"""Mislabelled photos are found."""

from pathlib import Path

import numpy as np

from tests.fixtures.clouds import two_clouds
from training.data.label_issues import find_label_issues
from training.data.photos import Photos
from training.model.classifier import out_of_fold_probabilities


def test_swapped_labels_are_found_first() -> None:
    features, targets = two_clouds(400)
    swapped = np.random.default_rng(2).choice(400, 12, replace=False)
    wrong = targets.copy()
    wrong[swapped] = 1 - wrong[swapped]
    photos = Photos(tuple(Path(str(i)) for i in range(400)), wrong, "yes", "no")
    issues = find_label_issues(photos, out_of_fold_probabilities(features, wrong))
    assert len({int(str(issue.path)) for issue in issues[:12]} & set(swapped.tolist())) >= 10
    assert [issue.quality for issue in issues] == sorted(issue.quality for issue in issues)
    worst = issues[0]
    assert worst.label == ("yes" if wrong[int(str(worst.path))] else "no")
