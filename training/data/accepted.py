"""Accepted photos: corrections that a person has reviewed, a part of which is held out for comparisons."""

import hashlib
import logging
from pathlib import Path

import numpy as np

from service.photo import find_photos, printable
from training.data.folders import class_folders, find_labelled
from training.data.photo_info import file_digest
from training.data.photos import Photos

HELD_OUT_FRACTION = 0.2

_log = logging.getLogger(__name__)


def accepted_photos(path: Path, positive: str, negative: str) -> Photos:
    """Return the accepted photos of an image folder, which may have none; raises SeeFoodError if it can't be used."""
    if not any(find_photos(folder) for folder in class_folders(path)):
        return Photos((), np.zeros(0, np.float32), positive, negative)
    return find_labelled(path, positive, negative)


def by_digest(photos: Photos) -> dict[str, int]:
    """Return the position of each photo by its SHA-256, hex, without unreadable files and those with both labels."""
    found: dict[str, int] = {}
    contradictory: set[str] = set()
    for index, path in enumerate(photos.paths):
        digest = file_digest(path)
        first = found.setdefault(digest, index)
        if photos.targets[first] != photos.targets[index]:
            _log.info("Left out: %s: %s has the other label.", printable(path), printable(photos.paths[first]))
            contradictory.add(digest)
    return {digest: index for digest, index in found.items() if digest and digest not in contradictory}


def is_held_out(digest: str) -> bool:
    """Return whether a photo is held out; this depends on its content only, so it is never trained on later."""
    number = int.from_bytes(hashlib.sha256(f"held out {digest}".encode()).digest()[:8], "big") / 2**64
    return number < HELD_OUT_FRACTION


def link_photos(photos: Photos, found: dict[str, int], folder: Path, *, held_out: bool) -> list[Path]:
    """Link the photos that are held out, or those that are not, in a new image folder.

    Args:
        photos: the accepted photos.
        found: as returned by `by_digest`.
        folder: is created if it gets a photo.
        held_out: which part.

    Returns:
        The folder, or nothing if this part has no photo.
    """
    labels = photos.labels()
    part = {digest: index for digest, index in found.items() if is_held_out(digest) == held_out}
    for digest, index in part.items():
        path = photos.paths[index]
        (folder / labels[index]).mkdir(parents=True, exist_ok=True)
        (folder / labels[index] / f"{digest}{path.suffix}").symlink_to(path.absolute())
    return [folder] if part else []
