"""Photos with labels: find those of a run in folders, refuse folders that cannot be used, shuffle and split."""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError
from service.inbox.export import holds
from service.metadata import RESERVED_LABELS
from service.photo import find_photos

DEFAULT_POSITIVE = "hotdog"
MIN_PHOTOS_A_CLASS = 32  # so that the export can be compared on at least 64 photos
MIN_VALIDATION = 4  # of each class; fewer photos cannot rank two networks
VALIDATION_FRACTION = 0.15


@dataclass(frozen=True)
class Photos:
    """Photos with labels.

    Attributes:
        paths: the files.
        targets: float32 [N], 1 for the positive class, 0 for the negative class.
        positive, negative: names of the two classes, which are the names of their folders.
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

    def first(self, count: int) -> "Photos":
        """Return the first photos, at most `count`."""
        return self.take(range(min(len(self), count)))

    def sample(self, count: int, minimum: int) -> "Photos":
        """Return the first `count` photos and the first `minimum` photos of each class, in order."""
        chosen = np.arange(len(self)) < count
        for target in (0, 1):
            chosen[np.flatnonzero(self.targets == target)[:minimum]] = True
        return self.take(np.flatnonzero(chosen))

    def plus(self, other: "Photos") -> "Photos":
        """Return these photos followed by other photos of the same classes."""
        targets = np.concatenate([self.targets, other.targets])
        return Photos(self.paths + other.paths, targets, self.positive, self.negative)

    def without(self, excluded: Container[Path]) -> "Photos":
        """Return the photos that are not excluded."""
        return self.take(i for i, path in enumerate(self.paths) if path not in excluded)

    def labels(self) -> list[str]:
        """Return the class name of each photo."""
        return [self.positive if target == 1 else self.negative for target in self.targets]

    def counts(self) -> tuple[int, int]:
        """Return the number of positive and of negative photos."""
        positive = int(self.targets.sum())
        return positive, len(self) - positive

    def digest(self) -> str:
        """Return the SHA-256 (hex) of content and label of all photos; names and order do not matter."""
        lines = sorted(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {int(target)}"
            for path, target in zip(self.paths, self.targets, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingData:
    """All photos of a run.

    Attributes:
        photos: photos for training, and for validation if there are no others for it.
        validation: photos that the folder itself sets aside for validation; None: there are none.
        tests: folders of labelled photos for the test figures.
        accepted: accepted photos of an inbox, for training only.
        corrections: accepted photos of an inbox that are held out, for comparisons only.
    """

    photos: Photos
    validation: Photos | None
    tests: tuple[Path, ...]
    accepted: Photos
    corrections: Photos

    def held_out(self) -> list[tuple[Path, ...]]:
        """Return the photos that must not be trained on: validation photos, then test photos."""
        positive, negative = self.photos.positive, self.photos.negative
        tests = find_all_labelled(self.tests, positive, negative).paths
        return [self.validation.paths if self.validation else (), tests]


def gather(
    folder: Path, positive: str | None = None, extras: Sequence[Path] = (), tests: Sequence[Path] = ()
) -> TrainingData:
    """Find all photos of a run in folders.

    Args:
        folder: the training folder, FOLDER/CLASS or FOLDER/{train,val,test}/CLASS; `val` and `test` are optional.
        positive: the positive class; None: `hotdog`.
        extras: further training folders with one or both classes.
        tests: further test folders with one or both classes.

    Raises:
        SeeFoodError: a folder cannot be used.
    """
    parts = {path.name: path for path in _class_folders(folder)}
    if "train" not in parts:
        parts = {"train": folder}
    elif unknown := set(parts) - {"train", "val", "test"}:
        raise SeeFoodError(
            f"{folder} has a folder train, so its other subfolders can only be val and test; "
            f"move or rename {min(unknown)}."
        )
    held_out = [parts[name] for name in ("val", "test") if name in parts]
    _require_distinct(parts["train"], (*extras, *tests, *held_out))
    if inside := next((each for each in (*tests, *held_out) if holds(each)), None):
        raise SeeFoodError(f"{inside} is in an inbox, whose photos can't be test photos; name another folder.")
    photos = find_photos_to_train(parts["train"], positive)
    for extra in extras:
        photos = photos.plus(find_labelled(extra, photos.positive, photos.negative))
    subject = f"{parts['train']} and the extra folders have" if extras else f"{parts['train']} has"
    _require_photos(MIN_PHOTOS_A_CLASS, photos, subject)
    validation = find_labelled(parts["val"], photos.positive, photos.negative) if "val" in parts else None
    if validation:
        _require_photos(MIN_VALIDATION, validation, f"{parts['val']} has")
    all_tests = (*([parts["test"]] if "test" in parts else []), *tests)
    data = TrainingData(photos, validation, all_tests, accepted=photos.first(0), corrections=photos.first(0))
    data.held_out()
    return data


def find_photos_to_train(folder: Path, positive: str | None = None) -> Photos:
    """Find the photos of a folder with exactly two subfolders, one for each class; `positive` is as in `gather`.

    Raises:
        SeeFoodError: the folder cannot be used for training.
    """
    classes = _class_folders(folder)
    if len(classes) != 2:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have exactly two subfolders, one for each class; found: {found}.")
    names = [path.name for path in classes]
    if unprintable := next((path for path in classes if not path.name.isprintable()), None):
        raise SeeFoodError(f"{unprintable} has characters that can't be printed in its name; rename the folder.")
    positive = _positive_class(folder, names, positive)
    negative = next(name for name in names if name != positive)
    return _find_classes(folder, positive, negative)


def find_labelled(folder: Path, positive: str, negative: str) -> Photos:
    """Find the photos of a folder that has a subfolder for one or both classes; raises SeeFoodError."""
    classes = _class_folders(folder)
    if not classes or {path.name for path in classes} - {positive, negative}:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have subfolders named {positive}, {negative} or both; found: {found}.")
    photos = _find_classes(folder, positive, negative)
    if not len(photos):
        raise SeeFoodError(f"{folder} has no photos in its subfolders; add some, or name another folder.")
    return photos


def find_all_labelled(folders: Iterable[Path], positive: str, negative: str) -> Photos:
    """Find the photos of any number of folders, each as for `find_labelled`."""
    found = (find_labelled(folder, positive, negative) for folder in folders)
    return reduce(Photos.plus, found, Photos((), np.zeros(0, np.float32), positive, negative))


def leave_out(photos: Photos, excluded: Container[Path], minimum: int = MIN_PHOTOS_A_CLASS) -> Photos:
    """Return the photos that are not excluded; raises SeeFoodError if a class keeps fewer than the minimum."""
    kept = photos.without(excluded)
    first = next((path for path in photos.paths if path in excluded), None)
    count = len(photos) - len(kept)
    subject = f"{count} photos must be left out, for example {first}, which leaves" if first else "There are"
    _require_photos(minimum, kept, subject)
    return kept


def split(photos: Photos, digests: Mapping[Path, str], seed: int) -> tuple[Photos, Photos]:
    """Split photos into training and validation photos, each in random order.

    The side depends on the `hash_fraction` of a photo, so a photo stays on its side when photos are added or renamed.
    Photos below VALIDATION_FRACTION are for validation, but at least MIN_VALIDATION of each class.

    Args:
        photos: all photos.
        digests: SHA-256 of each photo, hex.
        seed: random seed.
    """
    photos = shuffle(photos, digests, seed)
    is_validation = np.array([hash_fraction(digests[path], seed) < VALIDATION_FRACTION for path in photos.paths])
    for target in (0, 1):
        is_validation[np.flatnonzero(photos.targets == target)[:MIN_VALIDATION]] = True  # sorted by number
    return photos.take(np.flatnonzero(~is_validation)), photos.take(np.flatnonzero(is_validation))


def shuffle(photos: Photos, digests: Mapping[Path, str], seed: int) -> Photos:
    """Return the photos in a random order that depends on their content only; any first part is a random sample."""
    return photos.take(np.argsort([hash_fraction(digests[path], seed) for path in photos.paths]))


def hash_fraction(digest: str, seed: int | str) -> float:
    """Return a pseudo-random number in [0, 1) that depends only on the SHA-256 of a photo, in hex, and on a seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:8], "big") / 2**64


def _class_folders(folder: Path) -> list[Path]:
    """List the subfolders of a folder without the hidden ones; raises SeeFoodError if the folder can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise SeeFoodError(f"{folder} can't be read as a folder: {error.strerror}.") from error


def _find_classes(folder: Path, positive: str, negative: str) -> Photos:
    found = [find_photos(folder / name) for name in (positive, negative)]
    targets = np.repeat(np.array([1, 0], np.float32), [len(paths) for paths in found])
    return Photos(tuple(found[0] + found[1]), targets, positive, negative)


def _require_distinct(folder: Path, others: Iterable[Path]) -> None:
    seen = {folder.resolve()}
    for other in others:
        if other.resolve() in seen:
            raise SeeFoodError(f"{other} is given twice; use different folders for training and for testing.")
        seen.add(other.resolve())


def _positive_class(folder: Path, names: list[str], requested: str | None) -> str:
    if requested is None and DEFAULT_POSITIVE not in names:
        raise SeeFoodError(
            f"{folder} has no class '{DEFAULT_POSITIVE}'; choose the positive class with "
            f"--positive {names[0]} or --positive {names[1]}."
        )
    positive = requested or DEFAULT_POSITIVE
    if positive not in names:
        raise SeeFoodError(f"{folder} has no class '{positive}'; its classes are {names[0]} and {names[1]}.")
    if positive in RESERVED_LABELS:
        raise SeeFoodError(
            f"The positive class can't be named '{positive}', because predictions have a field of that name; "
            "rename the folder."
        )
    return positive


def _require_photos(minimum: int, photos: Photos, subject: str) -> None:
    """Raise SeeFoodError if a class has fewer photos than the minimum; the sentence starts with the subject."""
    positive, negative = photos.counts()
    if min(positive, negative) < minimum:
        raise SeeFoodError(
            f"{subject} {positive} photos of {photos.positive} and {negative} of {photos.negative}; "
            f"at least {minimum} of each are needed."
        )
