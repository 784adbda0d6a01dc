"""The perceptual hash that finds near duplicates, in the inbox of the service and among training photos."""

import numpy as np
from PIL import Image

from service.photo import Pixels

NEAR_BITS = 6  # of 64: perceptual hashes that differ in at most so many bits are of the same picture
BLANK = 3.0  # grey levels of 256: photos with a lower contrast show nothing, and their hashes are noise
HASH_SIDE = 256  # px: photos are decoded to at least this size, so that a hash does not depend on the file's own size
_BITS = 8  # a side of the square of coefficients
_SIDE = 32  # px
_POSITIONS, _FREQUENCIES = 2 * np.arange(_SIDE) + 1, np.arange(_BITS)[:, None]
_COSINES = np.cos(np.pi * _FREQUENCIES * _POSITIONS / (2 * _SIDE))  # the lowest frequencies of a type-II DCT


def perceptual_hash(grey: Pixels) -> int:
    """Return the 64-bit hash of grey levels, uint8 [height, width]: which low frequencies are above their median."""
    small = np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    coefficients = _COSINES @ small @ _COSINES.T
    bits = (coefficients > np.median(coefficients)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def contrast(grey: Pixels) -> float:
    """Return the standard deviation of grey levels, in [0, 127.5]."""
    return round(float(grey.std()), 2)
