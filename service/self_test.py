"""The reference square, a fixed picture: each model file stores its probability, to check the model on opening."""

import hashlib

import numpy as np

from service.photo import Pixels

TOLERANCE = 0.02  # of the probability; CPUs with and without VNNI round int8 products differently


def reference_square(size: int) -> Pixels:
    """Return the square, uint8 [size, size, 3]: red increases to the right, green downwards, blue diagonally.

    It uses integer arithmetic only, so it is identical on every machine.
    """
    down, right = np.indices((size, size)) * 255 // max(size - 1, 1)
    return np.stack([right, down, (255 * 2 - right - down) // 2], axis=-1).astype(np.uint8)


def digest(pixels: Pixels) -> str:
    """Return the SHA-256 of the pixels' bytes, in hexadecimal."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()
