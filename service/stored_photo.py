"""Prepares a photo for the inbox: the model's input, a new JPEG without metadata, and the perceptual hash."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from service.phash import BLANK, HASH_SIDE, contrast, perceptual_hash
from service.photo import Pixels, decode, read_photo, suffix

SIDE = 1024  # px: longest side of the new JPEG, as that of the page; training crops at a quarter of it
QUALITY = 95  # of the new JPEG; training sees no difference to the original


@dataclass(frozen=True)
class PreparedPhoto:
    """What the inbox needs of a photo.

    Attributes:
        square: the model's input, uint8 [S, S, 3], RGB.
        jpeg: the upright photo in sRGB as a new file. Nothing but pixels is copied: no place, time, camera, comment,
            preview, or bytes behind the picture.
        phash: 64-bit hash of the new file, as training computes it; None for a blank photo, whose hash is noise.
        suffix: file suffix of the original.
    """

    square: Pixels
    jpeg: bytes
    phash: int | None
    suffix: str


def prepare(data: bytes, size: int, max_pixels: int) -> PreparedPhoto:
    """Prepare an untrusted photo for a model with inputs of this size; raises as `service.photo.decode` does."""
    image = decode(data, at_least=SIDE, max_pixels=max_pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    pixels = Image.fromarray(np.asarray(image))  # Pillow would copy the comment of the image to the new file
    pixels.save(buffer, "JPEG", quality=QUALITY)
    jpeg = buffer.getvalue()
    grey = np.asarray(decode(jpeg, at_least=HASH_SIDE).convert("L"))
    return PreparedPhoto(
        read_photo(data, size, max_pixels),
        jpeg,
        perceptual_hash(grey) if contrast(grey) >= BLANK else None,
        suffix(data),
    )
