"""Compare the answers of the browser with those of the service, on the same photos and the same model file."""

import io
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.photos import photo as noise
from tests.fixtures.drawing import draw
from tests.fixtures.files import display_p3

FOLDERS = ("test", "stranger_test", "hard_negatives/test")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_ORIENTATION = 0x0112

Predict = Callable[[bytes], dict[str, Any]]


def compare(photos: Iterable[tuple[str, bytes]], first: Predict, second: Predict) -> dict[str, Any]:
    """Return the differences between two classifiers.

    Returns:
        `photos`: their number; `mean`, `p99` and `max` of |difference in probability|; `flips`: names of the photos
        whose label differs and that the first classifier does not call uncertain; `uncertain_flips`: the number of the
        others; `milliseconds`: median of the second classifier's inference.
    """
    differences: list[float] = []
    milliseconds: list[float] = []
    flips: list[str] = []
    uncertain_flips = 0
    for name, data in photos:
        expected, found = first(data), second(data)
        differences.append(abs(expected["probability"] - found["probability"]))
        milliseconds.append(found["milliseconds"])
        if expected["label"] != found["label"]:
            uncertain_flips += expected["uncertain"]
            flips += [] if expected["uncertain"] else [name]
    return {
        "photos": len(differences),
        "mean": statistics.fmean(differences),
        "p99": float(np.quantile(differences, 0.99)),
        "max": max(differences),
        "flips": flips,
        "uncertain_flips": uncertain_flips,
        "milliseconds": statistics.median(milliseconds),
    }


def real_photos(folder: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of a random choice of photos, always the same one, from folders of test photos."""
    found = sorted(path for each in FOLDERS for path in (folder / each).rglob("*") if path.suffix.lower() in _SUFFIXES)
    random.Random(0).shuffle(found)  # noqa: S311
    for path in found[:count]:
        yield str(path.relative_to(folder)), path.read_bytes()


def enlarged(photos: Iterable[tuple[str, bytes]], side: int) -> Iterator[tuple[str, bytes]]:
    """Yield photos as JPEG with so many pixels on the long side, which the service decodes at a reduced scale."""
    for name, data in photos:
        photo = Image.open(io.BytesIO(data)).convert("RGB")
        size = (round(photo.width * side / max(photo.size)), round(photo.height * side / max(photo.size)))
        yield f"{name}, {side} px", _encoded(photo.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)


def drawn_photos() -> Iterator[tuple[str, bytes]]:
    """Yield 40 files that browsers and Pillow could read differently: orientation, profile, alpha, mode and format."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        yield f"orientation {orientation}", _encoded(_picture(orientation), "JPEG", exif=exif)
        yield (
            f"orientation {orientation}, progressive",
            _encoded(_picture(orientation, (1201, 899)), "JPEG", exif=exif, progressive=True),
        )
    for seed, size in enumerate([(224, 224), (640, 480), (449, 1000), (3000, 700)]):
        picture = _picture(seed, size)
        yield f"PNG {size}", _encoded(picture, "PNG")
        yield f"WebP {size}", _encoded(picture, "WEBP", quality=90)
        yield f"grey JPEG {size}", _encoded(picture.convert("L"), "JPEG")
        yield f"JPEG 4:4:4 {size}", _encoded(picture, "JPEG", subsampling=0)
        yield f"transparent PNG {size}", _encoded(_transparent(picture), "PNG")
    yield "JPEG with the profile Display P3", _encoded(_picture(1), "JPEG", icc_profile=display_p3())
    yield "palette PNG", _encoded(_picture(2).quantize(64), "PNG")
    yield "GIF", _encoded(_picture(3), "GIF")
    yield "BMP", _encoded(_picture(4), "BMP")


def _picture(seed: int, size: tuple[int, int] = (800, 600)) -> Image.Image:
    """Draw a hotdog with the soft edges of a lens and some grain."""
    sharp = draw("hotdog", seed, (size[0] // 4, size[1] // 4)).resize(size, Image.Resampling.BICUBIC)
    return Image.blend(sharp, Image.open(io.BytesIO(noise(size, seed))).convert("RGB"), 0.1)


def _transparent(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
