"""The drawn square whose probability each model file stores, so that whoever opens the file can check its answer."""

import hashlib

import numpy as np

from service.photo import Pixels

TOLERANCE = 0.02  # of probability: CPUs with and without VNNI round int8 products differently


def reference_square(size: int) -> Pixels:
    """Return the square: uint8 [size, size, 3], red to the right, green downwards, blue along the diagonal.

    It is made of whole numbers alone, so that it is the same on every machine.
    """
    down, right = np.indices((size, size)) * 255 // max(size - 1, 1)
    return np.stack([right, down, (255 * 2 - right - down) // 2], axis=-1).astype(np.uint8)


def digest(pixels: Pixels) -> str:
    """Return the SHA-256 of the bytes of a square, in hex."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()
