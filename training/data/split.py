"""Split photos into training and validation photos; only the content of a photo decides its side."""

import hashlib
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np

from training.data.folders import MIN_PHOTOS_A_CLASS, MIN_VALIDATION, require_photos
from training.data.photos import Photos

VALIDATION_FRACTION = 0.15


def leave_out(photos: Photos, excluded: Container[Path], minimum: int = MIN_PHOTOS_A_CLASS) -> Photos:
    """Return the photos that are not excluded; raises SeeFoodError if a class keeps fewer than the minimum."""
    kept = photos.without(excluded)
    first = next((path for path in photos.paths if path in excluded), None)
    count = len(photos) - len(kept)
    require_photos(minimum, kept, f"{count} photos must be left out, for example {first}, which leaves")
    return kept


def split(photos: Photos, digests: Mapping[Path, str], seed: int) -> tuple[Photos, Photos]:
    """Split photos into training and validation photos, each in random order.

    Each photo gets a number in [0, 1) that depends on its content and the seed only, so a photo stays on its side when
    photos are added or renamed. Photos below VALIDATION_FRACTION are for validation, but at least MIN_VALIDATION of
    each class.

    Args:
        photos: all photos.
        digests: SHA-256 of each photo, hex.
        seed: random seed.
    """
    photos = shuffle(photos, digests, seed)
    is_validation = np.array([_number(digests[path], seed) < VALIDATION_FRACTION for path in photos.paths])
    for target in (0, 1):
        is_validation[np.flatnonzero(photos.targets == target)[:MIN_VALIDATION]] = True  # sorted by number
    return photos.take(np.flatnonzero(~is_validation)), photos.take(np.flatnonzero(is_validation))


def shuffle(photos: Photos, digests: Mapping[Path, str], seed: int) -> Photos:
    """Return the photos in a random order that depends on their content only; any first part is a random sample."""
    return photos.take(np.argsort([_number(digests[path], seed) for path in photos.paths]))


def _number(digest: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:8], "big") / 2**64
