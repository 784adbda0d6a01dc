"""Folders of photos to train on and to score: chosen from given ones, or drawn."""

import hashlib
import io
import os
from pathlib import Path

from PIL import Image

from benchmarks.photos import SIZES, photo

CLASSES = ("hotdog", "not_hotdog")

_TINTS = {"hotdog": (170, 60, 40), "not_hotdog": (60, 120, 150)}  # what tells drawn photos of the two classes apart
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def split_folders(source: Path | None, folder: Path, *, train: int, val: int) -> Path:
    """Make FOLDER/{train,val}/CLASS with so many photos of both classes together, half of each, and return FOLDER.

    The same photos of `source` are chosen each time, by the hash of their names. Without a source they are drawn.
    """
    for name in CLASSES:
        here = folder / name
        chosen = _chosen(source / name, (train + val) // 2) if source else _drawn(here, name, (train + val) // 2)
        for part, paths in (("train", chosen[: train // 2]), ("val", chosen[train // 2 :])):
            target = folder / "split" / part / name
            target.mkdir(parents=True)
            for path in paths:
                _link(path, target / path.name)
    return folder / "split"


def camera_folder(folder: Path, *, count: int, distinct: int = 16, size: str = "2 MP") -> Path:
    """Make a flat folder of so many camera-like JPEGs, links to a few distinct ones, and return it."""
    folder.mkdir(parents=True)
    drawn = [folder / f"photo-{seed:05}.jpg" for seed in range(min(distinct, count))]
    for seed, path in enumerate(drawn):
        path.write_bytes(photo(SIZES[size], seed))
    for number in range(len(drawn), count):
        _link(drawn[number % len(drawn)], folder / f"photo-{number:05}.jpg")
    return folder


def flat_folder(source: Path, folder: Path, *, count: int) -> Path:
    """Make a flat folder of so many photos found below a source, the same each time, and return it."""
    folder.mkdir(parents=True)
    for number, path in enumerate(_chosen(source, count)):
        _link(path, folder / f"photo-{number:05}{path.suffix.lower()}")
    return folder


def _chosen(folder: Path, count: int) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
    if len(found) < count:
        raise FileNotFoundError(f"{folder} has {len(found)} photos; {count} are needed.")
    return sorted(found, key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).digest())[:count]


def _drawn(folder: Path, name: str, count: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        image = Image.open(io.BytesIO(photo((320, 256), number + count * CLASSES.index(name))))
        path = folder / f"{name}-{number:05}.jpg"
        Image.blend(image.convert("RGB"), Image.new("RGB", image.size, _TINTS[name]), 0.3).save(path, quality=90)
        paths.append(path)
    return paths


def _link(path: Path, target: Path) -> None:
    """Link a photo, by a hard link where the file system lets us: no tool then treats it unlike a file."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        target.write_bytes(path.read_bytes())
