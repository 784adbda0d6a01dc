"""JPEG files that cost what a camera's cost: noise with the spectrum of natural images, in colour, with grain."""

import io
from typing import Any

import numpy as np
from PIL import Image

SIZES = {"0.3 MP": (640, 480), "2 MP": (1600, 1200), "12 MP": (4032, 3024)}


def photo(size: tuple[int, int], seed: int = 0) -> bytes:
    """Return a JPEG of (width, height); quality 90, 4:2:0 chroma.

    The amplitude spectrum falls as 1/f (Field 1987) and once more towards the edge, where a lens blurs (Gaussian MTF).
    """
    width, height = size
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    amplitude = np.exp(-((frequency / 0.3) ** 2)) / frequency

    def pink() -> Any:
        spectrum = np.fft.rfft2(random.standard_normal((height, width))) * amplitude
        plane = np.fft.irfft2(spectrum, (height, width))
        return plane / plane.std()

    luma = 120 + 45 * pink() + random.normal(0, 2, (height, width))
    planes = np.stack([luma, 128 + 10 * pink(), 128 + 10 * pink()], -1)
    image = Image.fromarray(np.clip(planes, 0, 255).astype(np.uint8), "YCbCr")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
