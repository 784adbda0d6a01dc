"""Photos to measure with: drawn ones that take as long to decode as those of a camera, and folders of photos."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZES = {"0.3 MP": (640, 480), "2 MP": (1600, 1200), "12 MP": (4032, 3024)}
CLASSES = ("hotdog", "not_hotdog")

_TINTS = {"hotdog": (170, 60, 40), "not_hotdog": (60, 120, 150)}  # the difference between drawn photos
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def photo(size: tuple[int, int], seed: int = 0) -> bytes:
    """Return a JPEG of (width, height): noise with the spectrum of natural images; quality 90, 4:2:0 chroma.

    The amplitude spectrum falls as 1/f^1.3; luma has a standard deviation of 59 and chroma of 14. These are the medians
    of 300 photos of food and objects with 256 px. A lens blur (Gaussian MTF) and sensor grain are added. The bits per
    pixel are those of real photos: at 12 megapixels the file has about 3 MB, like those of phones.
    """
    width, height = size
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    amplitude = np.exp(-((frequency / 0.3) ** 2)) * frequency**-1.3

    def pink() -> Any:
        spectrum = np.fft.rfft2(random.standard_normal((height, width))) * amplitude
        plane = np.fft.irfft2(spectrum, (height, width))
        return plane / plane.std()

    luma = 120 + 59 * pink() + random.normal(0, 3, (height, width))
    planes = np.stack([luma, 128 + 14 * pink(), 128 + 14 * pink()], -1)
    image = Image.fromarray(np.clip(planes, 0, 255).astype(np.uint8), "YCbCr")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def split_folders(source: Path | None, folder: Path, *, train: int, val: int) -> Path:
    """Create {train,val}/CLASS with a number of photos, half of each class, and return the folder of both.

    The photos are drawn, or chosen from `source` by the hash of their names.
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


def drawn_folder(folder: Path, *, count: int) -> Path:
    """Create a flat folder of drawn photos of two megapixels, links to 16 distinct ones, and return it."""
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"photo-{number:05}.jpg"
        if number < 16:
            path.write_bytes(photo(SIZES["2 MP"], number))
        else:
            _link(folder / f"photo-{number % 16:05}.jpg", path)
    return folder


def flat_folder(source: Path, folder: Path, *, count: int) -> Path:
    """Create a flat folder of photos chosen from a source by the hash of their names, and return it."""
    folder.mkdir(parents=True)
    for number, path in enumerate(_chosen(source, count)):
        _link(path, folder / f"photo-{number:05}{path.suffix.lower()}")
    return folder


def _chosen(folder: Path, count: int) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
    if len(found) < count:
        raise FileNotFoundError(f"{folder} has {len(found)} photos, but {count} are required.")
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
    """Create a hard link, which all tools treat as a file, or a copy."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        target.write_bytes(path.read_bytes())
