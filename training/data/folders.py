"""Training folders: find the photos of each class, and refuse a folder that cannot be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from service.errors import SeeFoodError
from service.inbox.export import holds
from service.metadata import RESERVED_LABELS
from service.photo import find_photos
from training.data.accepted import find_accepted, is_held_out
from training.data.photos import MIN_PHOTOS_A_CLASS, MIN_VALIDATION, Photos, require_photos

DEFAULT_POSITIVE = "hotdog"


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
    folder: Path,
    positive: str | None = None,
    extras: Sequence[Path] = (),
    tests: Sequence[Path] = (),
    inbox: Path | None = None,
) -> TrainingData:
    """Find all photos of a run.

    Args:
        folder: the training folder, FOLDER/CLASS or FOLDER/{train,val,test}/CLASS; `val` and `test` are optional.
        positive: the positive class; None: `hotdog`.
        extras: further training folders with one or both classes.
        tests: further test folders with one or both classes.
        inbox: folder of an inbox with accepted photos; None: no inbox.

    Raises:
        SeeFoodError: a folder cannot be used.
    """
    parts = {path.name: path for path in class_folders(folder)}
    if "train" not in parts:
        parts = {"train": folder}
    elif unknown := set(parts) - {"train", "val", "test"}:
        raise SeeFoodError(
            f"{folder} has a folder train, so only val and test can stand beside it; move or rename {min(unknown)}."
        )
    held_out = [parts[name] for name in ("val", "test") if name in parts]
    _require_distinct(parts["train"], (*extras, *tests, *held_out))
    if inside := next((each for each in (*tests, *held_out) if holds(each)), None):
        raise SeeFoodError(f"{inside} is in an inbox, whose photos can't be test photos; name another folder.")
    photos = find_photos_to_train(parts["train"], positive)
    for extra in extras:
        photos = photos.plus(find_labelled(extra, photos.positive, photos.negative))
    validation = find_labelled(parts["val"], photos.positive, photos.negative) if "val" in parts else None
    if validation:
        require_photos(MIN_VALIDATION, validation, f"{parts['val']} has")
    accepted = find_accepted(inbox, photos.positive, photos.negative)
    corrections = {path for path in accepted.paths if is_held_out(path.stem)}
    data = TrainingData(
        photos=photos,
        validation=validation,
        tests=(*([parts["test"]] if "test" in parts else []), *tests),
        accepted=accepted.without(corrections),
        corrections=accepted.take(i for i, path in enumerate(accepted.paths) if path in corrections),
    )
    data.held_out()
    return data


def find_photos_to_train(folder: Path, positive: str | None = None) -> Photos:
    """Find the photos of a folder with exactly two subfolders, one for each class; `positive` is as in `gather`.

    Raises:
        SeeFoodError: the folder cannot be used for training.
    """
    classes = class_folders(folder)
    if len(classes) != 2:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have exactly two subfolders, one for each class; found: {found}.")
    names = [path.name for path in classes]
    if unprintable := next((path for path in classes if not path.name.isprintable()), None):
        raise SeeFoodError(f"{unprintable} has characters that can't be printed in its name; rename the folder.")
    positive = _positive_class(folder, names, positive)
    negative = next(name for name in names if name != positive)
    photos = _photos(folder, positive, negative)
    require_photos(MIN_PHOTOS_A_CLASS, photos, f"{folder} has")
    return photos


def find_labelled(folder: Path, positive: str, negative: str) -> Photos:
    """Find the photos of a folder that has a subfolder for one or both classes; raises SeeFoodError."""
    classes = class_folders(folder)
    if not classes or {path.name for path in classes} - {positive, negative}:
        found = ", ".join(path.name for path in classes) or "none"
        raise SeeFoodError(f"{folder} must have subfolders named {positive}, {negative} or both; found: {found}.")
    photos = _photos(folder, positive, negative)
    if not len(photos):
        raise SeeFoodError(f"{folder} has no photos in its subfolders; add some, or name another folder.")
    return photos


def find_all_labelled(folders: Iterable[Path], positive: str, negative: str) -> Photos:
    """Find the photos of any number of folders, each as for `find_labelled`."""
    found = (find_labelled(folder, positive, negative) for folder in folders)
    return reduce(Photos.plus, found, Photos((), np.zeros(0, np.float32), positive, negative))


def class_folders(folder: Path) -> list[Path]:
    """List the subfolders of a folder without the hidden ones; raises SeeFoodError if the folder can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise SeeFoodError(f"{folder} can't be read as a folder: {error.strerror}.") from error


def _photos(folder: Path, positive: str, negative: str) -> Photos:
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
