"""Data leakage: test photos that a version was trained with, on which its figures are too good."""

from pathlib import Path

from training.data.checks import file_digest
from training.data.photos import Photos
from training.registry.photo_list import read_photo_list


def count_leaked(version: Path, photos: Photos) -> int:
    """Return how many of the photos a version was fitted or validated on; errors are those of `read_photo_list`.

    Args:
        version: folder of the version; nothing is known of one without photos.csv.
        photos: the test photos; only equal files are found, no near duplicates.
    """
    known = {digest for digest, use in read_photo_list(version).items() if use in ("fit", "validate")}
    return sum(file_digest(path) in known for path in photos.paths) if known else 0
