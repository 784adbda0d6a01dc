"""Bytes in, one upright RGB photo out: every format, limit and resize is decided here, for serving and training."""

import contextlib
import functools
import io
import os
from pathlib import Path

import filetype
import numpy as np
import numpy.typing as npt
import pi_heif
from PIL import Image, ImageCms, ImageOps

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP")  # JPEG brings MPO along: a second picture behind it
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif", ".gif", ".bmp")
NAMES = "JPEG, PNG, WebP, HEIC, AVIF, GIF or BMP"
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # what phones take at most by default
MAX_SIDE = 65_535  # pixels, as of JPEG; to resize a line of millions takes gigabytes
RESIZE_POLICY = "squash"  # the whole photo on a square: a long hotdog keeps both ends
_OF_CAMERAS = ("JPEG", "MPO", "PNG", "HEIF")
_SUFFIX_OF = {"JPEG": ".jpg", "MPO": ".jpg", "HEIF": ".heic"}  # and of the others their names
_KINDS = ("jpeg", "png", "webp", "heic", "heif", "avif", "gif", "bmp")  # as filetype names them
_FILTER = Image.Resampling.BILINEAR
_SPARE = 2.0  # a reduction by a whole factor leaves twice the size asked for, so that the last resize still filters


pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns; `decode` raises PhotoTooLarge instead


_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_MAX_PROFILE = 1_000_000  # bytes; those of cameras have some hundred, of printers up to a few hundred thousand


class PhotoError(Exception):
    """A photo that can't be used; the message is one sentence for the person who sent it."""


class EmptyPhoto(PhotoError):
    """There are no bytes."""


class UndecodablePhoto(PhotoError):
    """The bytes are no image, or a damaged or truncated one."""


class UnsupportedPhoto(PhotoError):
    """The bytes are a file of a known kind that is not read here."""


class PhotoTooLarge(PhotoError):
    """The file has more bytes, or the image more pixels, than the limit."""


class PhotoTooCostly(PhotoError):
    """Decoding the photo takes more memory or time than it may."""


def decode(data: bytes, *, at_least: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one photo to an upright sRGB image, alpha on white, at a reduced scale where that is cheaper.

    Args:
        data: an encoded photo in one of FORMATS; of several frames the first.
        at_least: neither side is reduced below this many pixels; smaller photos keep their size.
        max_pixels: width x height allowed, checked on the header before any pixel is decoded; half as many of formats
            that no camera writes, which take more memory a pixel.

    Raises:
        EmptyPhoto, UndecodablePhoto, UnsupportedPhoto, PhotoTooLarge, PhotoTooCostly: all of them PhotoError.
    """
    image = _open(data)
    width, height = image.size
    if not width * height:
        raise UndecodablePhoto("The photo has no pixels.")
    if max(width, height) > MAX_SIDE:
        raise PhotoTooLarge(f"The photo has {width} x {height} pixels; at most {MAX_SIDE:,} on a side are accepted.")
    if width * height > (most := max_pixels if image.format in _OF_CAMERAS else max_pixels // 2):
        kind = "" if most == max_pixels else f" of a {image.format} photo"
        raise PhotoTooLarge(f"The photo has {width} x {height} pixels; at most {most:,}{kind} are accepted.")
    try:
        image.draft("RGB", (at_least, at_least))
        image.load()
        return _flat(_in_srgb(_upright(_reduced(image, at_least))))
    except Exception as error:  # Pillow's decoders raise nearly every built-in type on damaged bytes
        if isinstance(error, MemoryError) or "memory" in str(error).lower():  # as the decoders of AVIF and HEIC say it
            refusal = f"The {image.format} photo takes too much memory to decode; send a smaller one."
            raise PhotoTooCostly(refusal) from error
        raise UndecodablePhoto(f"The {image.format} photo is damaged or truncated and can't be decoded.") from error


def square(image: Image.Image, size: int) -> Pixels:
    """Resize an image to the square a model takes: uint8 [size, size, 3], RGB, the aspect ratio given up (squash)."""
    return np.asarray(image.resize((size, size), _FILTER, reducing_gap=_SPARE))


def read_photo(data: bytes, size: int, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Turn the bytes of one photo into a model's input: uint8 [size, size, 3], RGB. Raises as `decode` does."""
    check_bytes(len(data), max_bytes)
    return square(decode(data, at_least=size, max_pixels=max_pixels), size)


def suffix(data: bytes) -> str:
    """Return the suffix for the format that the bytes of a photo really have. Raises as `decode` does."""
    name = str(_open(data).format)
    return _SUFFIX_OF.get(name, f".{name.lower()}")


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read the bytes of one photo file, and none of a larger one; raises PhotoTooLarge, OSError."""
    check_bytes(path.stat().st_size, max_bytes)
    return path.read_bytes()


def find_photos(folder: Path) -> list[Path]:
    """List the files below a folder whose suffix is a photo's, hidden files and folders left out, in sorted order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def utf8(path: Path | str) -> str:
    """Return a path as it is, but for the bytes that are no UTF-8: they are written as backslash, x and two digits."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(path: Path | str) -> str:
    """Return a path, or a sentence with paths, that prints on one line in any terminal, whatever bytes it has."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in utf8(path))


def check_bytes(size: int, max_bytes: int) -> None:
    """Raise PhotoTooLarge where a photo has more bytes than it may."""
    if size > max_bytes:
        raise PhotoTooLarge(f"The photo has {size:,} bytes; at most {max_bytes:,} are accepted.")


def _open(data: bytes) -> Image.Image:
    if not data:
        raise EmptyPhoto("The photo is empty (0 bytes).")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # as in `decode`
        if data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data):  # WebP takes its memory here
            raise PhotoTooCostly("The WebP photo takes too much memory to decode, or is damaged.") from error
        kind = filetype.guess_mime(data)
        if kind is None or kind.removeprefix("image/") in _KINDS:
            raise UndecodablePhoto("The bytes are not a photo, or the photo's header is damaged.") from error
        raise UnsupportedPhoto(f"Files of type {kind} are not read; send {NAMES}.") from error


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # damaged metadata is no reason to refuse good pixels
        ImageOps.exif_transpose(image, in_place=True)  # or it would copy a photo that is upright
    return image


def _reduced(image: Image.Image, at_least: int) -> Image.Image:
    """Shrink by a whole factor before the colour conversions, which would otherwise touch every pixel of a photo."""
    factor = int(min(image.size) // (at_least * _SPARE))
    if factor < 2 or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        return image
    return image.reduce(factor)


def _in_srgb(image: Image.Image) -> Image.Image:
    """Convert from the colour space that a phone or an editor embeds (ICC.1), such as Display P3."""
    profile = image.info.get("icc_profile")
    if profile and len(profile) <= _MAX_PROFILE:
        with contextlib.suppress(Exception):  # as in `_upright`
            return _to_srgb(profile, image.mode).apply(image)
    return image


@functools.lru_cache(maxsize=8)  # a phone writes the same profile into each of its photos
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    wide = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.ImageCmsTransform(wide, _SRGB, mode, "RGBA" if mode == "RGBA" else "RGB")


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
