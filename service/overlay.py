"""Draws a heatmap over a photo: red is evidence for the positive label, blue is evidence against it."""

import io

import numpy as np
from PIL import Image

from service.model import Floats
from service.photo import Pixels

UPSAMPLE = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
_FOR, _AGAINST = np.array([214, 32, 32]), np.array([24, 82, 214])  # RGB; red and blue, for colour-blind people
_MAX_OPACITY = 0.75  # the photo stays visible under the strongest evidence
_MIN_SCALE = 1.0  # logit; keeps the colours pale when all evidence is weak


def overlay(photo: Pixels, heatmap: Floats, upsample: str = "bilinear") -> Pixels:
    """Return a photo coloured by its heatmap; the opacity is relative to the strongest evidence in this photo.

    Args:
        photo: uint8 [S, S, 3], RGB.
        heatmap: float32 [h, w], zero where there is no evidence.
        upsample: key of UPSAMPLE, the interpolation from the heatmap to the size of the photo.
    """
    evidence = np.asarray(Image.fromarray(heatmap).resize(photo.shape[1::-1], UPSAMPLE[upsample]))[..., None]
    opacity = _MAX_OPACITY * np.abs(evidence) / max(float(np.abs(heatmap).max()), _MIN_SCALE)
    mixed = photo * (1 - opacity) + np.where(evidence > 0, _FOR, _AGAINST) * opacity
    return np.asarray(mixed.round(), np.uint8)


def as_png(pixels: Pixels) -> bytes:
    """Encode pixels, uint8 [S, S, 3], as a PNG file."""
    buffer = io.BytesIO()
    # Pillow's default level takes as long as the inference, and saves only a tenth of the bytes.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
