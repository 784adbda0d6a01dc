"""A folder of photos, one subfolder a class: found, checked and split before anything is computed."""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError
from service.metadata import RESERVED_LABELS
from service.photo import find_photos

DEFAULT_POSITIVE = "hotdog"
MIN_PHOTOS_A_CLASS = 32  # so that the export can be compared on 64 real photos, whatever they show
VALIDATION_FRACTION = 0.15
MIN_VALIDATION = 4  # of a class: fewer could not rank two networks


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

    def plus(self, other: "Photos") -> "Photos":
        """Return these photos and those of another folder of the same classes."""
        targets = np.concatenate([self.targets, other.targets])
        return Photos(self.paths + other.paths, targets, self.positive, self.negative)

    def without(self, unwanted: Container[Path]) -> "Photos":
        """Return the photos that are not among the unwanted."""
        return self.take(i for i, path in enumerate(self.paths) if path not in unwanted)

    def digest(self) -> str:
        """Return the SHA-256 (hex) over content and label of every photo; names and order do not matter."""
        lines = sorted(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {int(target)}"
            for path, target in zip(self.paths, self.targets, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on.

    Attributes:
        photos: to learn from, and to hold validation photos back from where there are none.
        validation: the photos that the folder itself sets aside for validation, if any.
        tests: folders of labelled photos for the final figures.
    """

    photos: Photos
    validation: Photos | None
    tests: tuple[Path, ...]

    def held_back(self) -> list[tuple[Path, ...]]:
        """Return the photos that must not be learnt from: validation, then test."""
        positive, negative = self.photos.positive, self.photos.negative
        tests = tuple(path for folder in self.tests for path in labelled(folder, positive, negative).paths)
        return [self.validation.paths if self.validation else (), tests]


def gather(folder: Path, positive: str | None = None, extras: Sequence[Path] = (), tests: Sequence[Path] = ()) -> Data:
    """Find everything that a run uses, in one of the two layouts: FOLDER/CLASS, or FOLDER/{train,val,test}/CLASS.

    Args:
        folder: the training folder; of `val` and `test` each may be absent.
        positive: the class the model says yes to; `hotdog` where there is one and nothing else is asked for.
        extras: further folders with one or both of the classes, to learn from.
        tests: further folders with one or both of the classes, for the final figures.

    Raises:
        SeeFoodError: something can't be used; the sentence says why.
    """
    parts = {path.name: path for path in class_folders(folder)}
    if "train" not in parts:
        parts = {"train": folder}
    elif unknown := set(parts) - {"train", "val", "test"}:
        raise SeeFoodError(
            f"{folder} has a folder train, and so may have val and test beside it, but not {min(unknown)}."
        )
    _require_distinct(parts["train"], (*extras, *tests, *(parts[name] for name in ("val", "test") if name in parts)))
    photos = scan(parts["train"], positive)
    for extra in extras:
        photos = photos.plus(labelled(extra, photos.positive, photos.negative))
    validation = labelled(parts["val"], photos.positive, photos.negative) if "val" in parts else None
    if validation:
        _require(MIN_VALIDATION, validation, f"{parts['val']} has")
    data = Data(photos, validation, (*([parts["test"]] if "test" in parts else []), *tests))
    data.held_back()
    return data


def scan(folder: Path, positive: str | None = None) -> Photos:
    """Find the photos of the two classes of a folder with exactly two subfolders; `positive` is as in `gather`.

    Raises:
        SeeFoodError: the folder can't be trained on; the sentence says why.
    """
    classes = class_folders(folder)
    if len(classes) != 2:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have exactly two subfolders, one for each class; found: {found}.")
    names = [path.name for path in classes]
    if odd := next((path for path in classes if not path.name.isprintable()), None):
        raise SeeFoodError(f"{odd} can't be the name of a class, as it can't be printed; rename the folder.")
    positive = _positive(folder, names, positive)
    negative = next(name for name in names if name != positive)
    photos = _photos(folder, positive, negative)
    _require(MIN_PHOTOS_A_CLASS, photos, f"{folder} has")
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


def leave_out(photos: Photos, reasons: Container[Path], at_least: int = MIN_PHOTOS_A_CLASS) -> Photos:
    """Return the photos that no reason speaks against; raises SeeFoodError where fewer than that remain of a class."""
    kept = photos.without(reasons)
    first = next((path for path in photos.paths if path in reasons), None)
    _require(at_least, kept, f"{len(photos) - len(kept)} photos must be left out, {first} the first; there remain")
    return kept


def split(photos: Photos, digests: Mapping[Path, str], seed: int) -> tuple[Photos, Photos]:
    """Split into photos to fit and photos to validate, class by class, both in an order that follows nothing.

    A photo's content alone decides, so that it stays on its side however the folder grows or is renamed: each has a
    number in [0, 1), and those below VALIDATION_FRACTION validate, but no fewer than MIN_VALIDATION of a class.
    """
    photos = shuffled(photos, digests, seed)
    validates = np.array([_draw(digests[path], seed) < VALIDATION_FRACTION for path in photos.paths])
    for target in (0, 1):
        validates[np.flatnonzero(photos.targets == target)[:MIN_VALIDATION]] = True  # those with the lowest numbers
    return photos.take(np.flatnonzero(~validates)), photos.take(np.flatnonzero(validates))


def shuffled(photos: Photos, digests: Mapping[Path, str], seed: int) -> Photos:
    """Return the photos in an order that follows nothing but their content, so that any first part is a fair sample."""
    return photos.take(np.argsort([_draw(digests[path], seed) for path in photos.paths]))


def _draw(digest: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:8], "big") / 2**64


def _photos(folder: Path, positive: str, negative: str) -> Photos:
    found = [find_photos(folder / name) for name in (positive, negative)]
    targets = np.repeat(np.array([1, 0], np.float32), [len(paths) for paths in found])
    return Photos(tuple(found[0] + found[1]), targets, positive, negative)


def _require(at_least: int, photos: Photos, what: str) -> None:
    positive = int(photos.targets.sum())
    negative = len(photos) - positive
    if min(positive, negative) < at_least:
        raise SeeFoodError(
            f"{what} {positive} photos of {photos.positive} and {negative} of {photos.negative}; "
            f"at least {at_least} of each are needed."
        )


def _require_distinct(folder: Path, others: Iterable[Path]) -> None:
    """Refuse a folder that is given twice: whatever was learnt from can't be measured on."""
    met = {folder.resolve()}
    for other in others:
        if other.resolve() in met:
            raise SeeFoodError(f"{other} is given twice; name different folders to learn from and to test on.")
        met.add(other.resolve())


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
