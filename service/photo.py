"""Reads photos: formats, limits, orientation, colour space and resizing, the same for serving and training."""

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

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP")  # as JPEG, Pillow also opens MPO
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif", ".gif", ".bmp")
NAMES = "JPEG, PNG, WebP, HEIC, AVIF, GIF or BMP"
MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000  # the default maximum of phones
MAX_SIDE = 65_535  # pixels, as in JPEG; resizing a row of millions of pixels takes gigabytes
RESIZE_POLICY = "squash"  # the whole photo becomes a square, and nothing is cropped
_CAMERA_FORMATS = ("JPEG", "MPO", "PNG", "HEIF")
_SUFFIX_OF = {"JPEG": ".jpg", "MPO": ".jpg", "HEIF": ".heic"}  # other formats: the name in lower case
_FILTER = Image.Resampling.BILINEAR
_REDUCING_GAP = 2.0  # an integer reduction keeps twice the final size, so that the last resize still filters

pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
Image.MAX_IMAGE_PIXELS = None  # Pillow's limit only warns; `decode` raises PhotoTooLarge

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_MAX_PROFILE = 1_000_000  # bytes; cameras embed a few hundred, printers a few hundred thousand


class PhotoError(Exception):
    """A photo that can't be used; the message is one sentence for its sender."""


class EmptyPhoto(PhotoError):
    """The photo has no bytes."""


class UndecodablePhoto(PhotoError):
    """The bytes are not an image, or the image is damaged or truncated."""


class UnsupportedPhoto(PhotoError):
    """The bytes are a file of a known but unsupported type."""


class PhotoTooLarge(PhotoError):
    """The photo has more bytes or more pixels than the limit."""


class PhotoTooCostly(PhotoError):
    """Decoding the photo takes more memory or time than the limit."""


def decode(data: bytes, *, at_least: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one photo to an upright sRGB image; transparent pixels become white, and a large photo is reduced.

    Args:
        data: an encoded photo in one of FORMATS; the first frame is used.
        at_least: minimum of width and height after the reduction, in pixels; smaller photos keep their size.
        max_pixels: maximum of width x height, checked in the header before decoding; half of it for formats that
            cameras do not write, which need more memory for each pixel.

    Raises:
        EmptyPhoto, UndecodablePhoto, UnsupportedPhoto, PhotoTooLarge, PhotoTooCostly: all of them PhotoError.
    """
    image = _open(data)
    width, height = image.size
    if not width * height:
        raise UndecodablePhoto("The photo has no pixels; send another one.")
    if max(width, height) > MAX_SIDE:
        most_on_a_side = f"at most {MAX_SIDE:,} on a side are accepted; send a smaller one."
        raise PhotoTooLarge(f"The photo has {width} x {height} pixels; {most_on_a_side}")
    if width * height > (most := max_pixels if image.format in _CAMERA_FORMATS else max_pixels // 2):
        accepted = f"at most {most:,} are accepted in this format, so send a smaller one."
        raise PhotoTooLarge(f"The {image.format} photo has {width} x {height} pixels; {accepted}")
    try:
        image.draft("RGB", (at_least, at_least))
        image.load()
        return _on_white(_to_srgb(_upright(_reduced(image, at_least))))
    except Exception as error:  # Pillow's decoders raise nearly every built-in type on damaged bytes
        # The decoders of AVIF and HEIC report a lack of memory with other types than MemoryError.
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            refusal = f"The {image.format} photo takes too much memory to decode; send a smaller one."
            raise PhotoTooCostly(refusal) from error
        refusal = f"The {image.format} photo is damaged or truncated and can't be decoded; send another copy."
        raise UndecodablePhoto(refusal) from error


def square(image: Image.Image, size: int) -> Pixels:
    """Resize an image to a model's input, uint8 [size, size, 3], RGB; the aspect ratio is not kept."""
    return np.asarray(image.resize((size, size), _FILTER, reducing_gap=_REDUCING_GAP))


def read_photo(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode and resize one photo to a model's input, uint8 [size, size, 3], RGB; raises as `decode` does."""
    return square(decode(data, at_least=size, max_pixels=max_pixels), size)


def suffix(data: bytes) -> str:
    """Return the file suffix for the actual format of a photo's bytes; raises as `decode` does."""
    name = str(_open(data).format)
    return _SUFFIX_OF.get(name, f".{name.lower()}")


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read the bytes of one photo file; raises PhotoTooLarge before reading a larger one, and OSError."""
    check_bytes(path.stat().st_size, max_bytes)
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)  # a device has no size
    check_bytes(len(data), max_bytes)
    return data


def find_photos(folder: Path) -> list[Path]:
    """List the photos in a folder and its subfolders by their suffix, sorted, without hidden files and folders.

    Raises:
        OSError: a folder can't be read; one that does not exist has no photos.
    """
    found: list[Path] = []
    if not folder.is_dir():
        return found
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(parent, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def utf8(path: Path | str) -> str:
    """Return a path as text, with each byte that is not UTF-8 as a backslash, x and two hexadecimal digits."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(path: Path | str) -> str:
    """Return a path, or a sentence with paths, with escapes for what would not print on one line."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in utf8(path))


def check_bytes(size: int, max_bytes: int) -> None:
    """Raise PhotoTooLarge if a photo has more than `max_bytes` bytes."""
    if size > max_bytes:
        raise PhotoTooLarge(f"The photo has {size:,} bytes; at most {max_bytes:,} are accepted; send a smaller one.")


def _open(data: bytes) -> Image.Image:
    if not data:
        raise EmptyPhoto("The photo is empty (0 bytes); send a file with content.")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # as in `decode`
        # Pillow decodes WebP when it opens the file, so a complete file fails here for lack of memory or damage.
        if data[:4] + data[8:12] == b"RIFFWEBP" and int.from_bytes(data[4:8], "little") + 8 == len(data):
            raise PhotoTooCostly("The WebP photo takes too much memory to decode, or is damaged.") from error
        kind = filetype.guess_mime(data)
        if kind is None or kind.replace("image/", ".") in SUFFIXES:  # a MIME subtype is one of the format's suffixes
            raise UndecodablePhoto(f"The bytes are not a photo, or its header is damaged; send {NAMES}.") from error
        raise UnsupportedPhoto(f"Files of type {kind} are not supported; send {NAMES}.") from error


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # a photo with damaged metadata is still usable
        ImageOps.exif_transpose(image, in_place=True)  # without in_place it copies an upright photo
    return image


def _reduced(image: Image.Image, at_least: int) -> Image.Image:
    """Reduce by an integer factor before the colour conversions, which are slow on a large photo."""
    factor = int(min(image.size) // (at_least * _REDUCING_GAP))
    if factor < 2 or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        return image
    return image.reduce(factor)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert from the embedded ICC profile (ICC.1), such as Display P3, to sRGB."""
    profile = image.info.get("icc_profile")
    if profile and len(profile) <= _MAX_PROFILE:
        with contextlib.suppress(Exception):  # as in `_upright`
            return _srgb_transform(profile, image.mode).apply(image)
    return image


@functools.lru_cache(maxsize=8)  # all photos of a phone have the same profile
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.ImageCmsTransform(source, _SRGB, mode, "RGBA" if mode == "RGBA" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
