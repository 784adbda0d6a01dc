"""A folder of photos, one subfolder a class: found, checked and split before anything is computed."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from service.errors import SeeFoodError
from service.metadata import RESERVED_LABELS
from service.photo import find_photos

DEFAULT_POSITIVE = "hotdog"
MIN_PHOTOS_A_CLASS = 32  # so that the export can be compared on 64 real photos, whatever they show
VALIDATION_FRACTION = 0.15


@dataclass(frozen=True)
class Photos:
    """Photos with labels.

    Attributes:
        paths: the files.
        targets: float32 [N], 1 where the photo belongs to the positive class, else 0.
        positive, negative: the names of the two classes, which are the names of their folders.
    """

    paths: tuple[Path, ...]
    targets: npt.NDArray[np.float32]
    positive: str
    negative: str

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Iterable[int]) -> "Photos":
        """Return the photos at these positions, in this order."""
        chosen = list(indices)
        return Photos(tuple(self.paths[i] for i in chosen), self.targets[chosen], self.positive, self.negative)

    def digest(self) -> str:
        """Return the SHA-256 (hex) over content and label of every photo; names and order do not matter."""
        lines = sorted(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {int(target)}"
            for path, target in zip(self.paths, self.targets, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def scan(folder: Path, positive: str | None = None) -> Photos:
    """Find the photos of the two classes of a training folder.

    Args:
        folder: has one subfolder a class, exactly two of them.
        positive: the class the model says yes to; `hotdog` where there is one and nothing else is asked for.

    Raises:
        SeeFoodError: the folder can't be trained on; the sentence says why.
    """
    classes = class_folders(folder)
    if len(classes) != 2:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have exactly two subfolders, one for each class; found: {found}.")
    names = [path.name for path in classes]
    positive = _positive(folder, names, positive)
    negative = next(name for name in names if name != positive)
    photos = _photos(folder, positive, negative)
    _require_enough(photos, f"{folder} has")
    return photos


def labelled(folder: Path, positive: str, negative: str) -> Photos:
    """Find the photos of a folder to evaluate, which may lack one of the two classes; raises SeeFoodError."""
    classes = class_folders(folder)
    if not classes or {path.name for path in classes} - {positive, negative}:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have subfolders named {positive}, {negative} or both; found: {found}.")
    photos = _photos(folder, positive, negative)
    if not len(photos):
        raise SeeFoodError(f"{folder} has no photos in its subfolders.")
    return photos


def class_folders(folder: Path) -> list[Path]:
    """List the subfolders of a folder, hidden ones left out; raises SeeFoodError where the folder can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise SeeFoodError(f"{folder} can't be read as a folder: {error.strerror}.") from error


def leave_out(photos: Photos, reasons: Mapping[Path, str]) -> Photos:
    """Return the photos that no reason speaks against; raises SeeFoodError where too few remain."""
    kept = photos.take(i for i, path in enumerate(photos.paths) if path not in reasons)
    first = next(iter(reasons), None)
    _require_enough(kept, f"{len(reasons)} photos must be left out, {first} the first of them; there remain")
    return kept


def split(photos: Photos, seed: int) -> tuple[Photos, Photos]:
    """Split into photos to fit and photos to validate, with the same share of both classes in each."""
    fit, validation = train_test_split(
        np.arange(len(photos)), test_size=VALIDATION_FRACTION, stratify=photos.targets, random_state=seed
    )
    return photos.take(fit), photos.take(validation)


def _photos(folder: Path, positive: str, negative: str) -> Photos:
    found = [find_photos(folder / name) for name in (positive, negative)]
    targets = np.repeat(np.array([1, 0], np.float32), [len(paths) for paths in found])
    return Photos(tuple(found[0] + found[1]), targets, positive, negative)


def _require_enough(photos: Photos, what: str) -> None:
    positive = int(photos.targets.sum())
    negative = len(photos) - positive
    if min(positive, negative) < MIN_PHOTOS_A_CLASS:
        raise SeeFoodError(
            f"{what} {positive} photos of {photos.positive} and {negative} of {photos.negative}; "
            f"training needs at least {MIN_PHOTOS_A_CLASS} of each."
        )


def _positive(folder: Path, names: list[str], asked: str | None) -> str:
    if asked is None and DEFAULT_POSITIVE not in names:
        raise SeeFoodError(
            f"{folder} has no class '{DEFAULT_POSITIVE}'; say which one is positive with "
            f"--positive {names[0]} or --positive {names[1]}."
        )
    positive = asked or DEFAULT_POSITIVE
    if positive not in names:
        raise SeeFoodError(f"{folder} has no class '{positive}'; its classes are {names[0]} and {names[1]}.")
    if positive in RESERVED_LABELS:
        raise SeeFoodError(f"A positive class can't be named '{positive}', a field of every answer; rename the folder.")
    return positive
