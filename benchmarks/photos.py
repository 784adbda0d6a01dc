"""JPEG files that cost what a camera's cost: noise with the spectrum of natural images, in colour, with grain."""

import io
from typing import Any

import numpy as np
from PIL import Image

SIZES = {"0.3 MP": (640, 480), "2 MP": (1600, 1200), "12 MP": (4032, 3024)}


def photo(size: tuple[int, int], seed: int = 0) -> bytes:
    """Return a JPEG of (width, height); quality 90, 4:2:0 chroma.

    The amplitude spectrum falls as 1/f^1.3, luma has a standard deviation of 59 and chroma of 14, the medians of 300
    photos of food and objects (of 256 px), with a lens's blur towards the edge (Gaussian MTF) and a sensor's grain. At
    that size it takes as many bits a pixel as those photos do; at 12 megapixels, about 3 MB, as those of phones.
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
