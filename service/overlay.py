"""Evidence laid over a photo: red speaks for the positive label, blue against it, and no evidence leaves the photo."""

import io

import numpy as np
from PIL import Image

from service.model import Floats
from service.photo import Pixels

UPSAMPLE = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
_FOR, _AGAINST = np.array([214, 32, 32]), np.array([24, 82, 214])  # RGB; the colour-blind tell red from blue
_OPACITY = 0.75  # of the strongest evidence, so that the photo can be seen through all of it
_STRONG = 1.0  # of logit: weaker evidence stays pale, or a photo that says nothing would be as colourful as any


def overlay(photo: Pixels, heatmap: Floats, upsample: str = "bilinear") -> Pixels:
    """Colour a photo by its evidence: the stronger, the less can be seen through it, on a scale of this photo's own.

    Args:
        photo: uint8 [S, S, 3], RGB.
        heatmap: float32 [h, w], zero where nothing speaks for or against.
        upsample: one of UPSAMPLE, from the grid of the heatmap to the pixels of the photo.
    """
    evidence = np.asarray(Image.fromarray(heatmap).resize(photo.shape[1::-1], UPSAMPLE[upsample]))[..., None]
    opacity = _OPACITY * np.abs(evidence) / max(float(np.abs(heatmap).max()), _STRONG)
    mixed = photo * (1 - opacity) + np.where(evidence > 0, _FOR, _AGAINST) * opacity
    return np.asarray(mixed.round(), np.uint8)


def as_png(pixels: Pixels) -> bytes:
    """Encode pixels, uint8 [S, S, 3], as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # Pillow's default level takes as long as the model, for a tenth less.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
