"""Synthetic pictures, which are all negative: noise, screenshots and drawings."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from service.model import Model
from training.evaluation.evaluate import Evaluation, evaluate

EACH = 50  # pictures of each kind
_WIDTH, _HEIGHT = 400, 300
_WORDS = ("file", "edit", "view", "help", "open", "find", "menu", "new", "the", "and", "with", "page", "next", "date")

Colour = tuple[int, int, int]


def evaluate_synthetic(model: Model, scratch: Path) -> Evaluation:
    """Evaluate a model on the synthetic pictures; they are written to `scratch` and removed afterwards."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        draw_synthetic(Path(folder, model.metadata.negative_label))
        return evaluate(model, Path(folder))


def draw_synthetic(folder: Path) -> None:
    """Create a folder with EACH PNG files of each kind, named `kind-number.png`; they are always the same."""
    folder.mkdir()
    for kind, draw in {"noise": _noise, "screenshot": _screenshot, "drawing": _drawing}.items():
        for number in range(EACH):
            picture = draw(np.random.default_rng(number), number)
            picture.save(folder / f"{kind}-{number:02}.png")


def _noise(random: np.random.Generator, number: int) -> Image.Image:
    """Draw white noise, or for odd numbers coloured noise, whose low frequencies are stronger."""
    if number % 2 == 0:
        return Image.fromarray(random.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8))
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.fftfreq(_WIDTH))
    frequency[0, 0] = 1  # the mean has frequency 0, which can't be a divisor
    falloff = frequency ** random.uniform(0.5, 2)
    white = random.normal(size=(3, _HEIGHT, _WIDTH))
    coloured = np.fft.ifft2(np.fft.fft2(white) / falloff).real
    planes = 128 + 50 * coloured / coloured.std(axis=(1, 2), keepdims=True)
    return Image.fromarray(np.moveaxis(planes, 0, 2).clip(0, 255).astype(np.uint8))


def _screenshot(random: np.random.Generator, number: int) -> Image.Image:
    """Draw a window on a desktop with a title bar, lines of text and buttons; for odd numbers a dark one."""
    paper, ink = ((30, 32, 38), (220, 222, 228)) if number % 2 else ((250, 250, 250), (30, 30, 36))
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), _colour(random, 40, 200))
    pen = ImageDraw.Draw(picture)
    left, top, below, beside = (int(margin) for margin in random.integers(0, 35, 4))
    right, bottom = _WIDTH - 1 - beside, _HEIGHT - 1 - below
    accent = _colour(random, 60, 160)
    size = int(random.integers(9, 15))
    font = ImageFont.load_default(size)
    pen.rectangle((left, top, right, bottom), paper, accent)
    pen.rectangle((left, top, right, top + 22), accent)
    pen.text((left + 8, top + 4), _words(random, 2), (255, 255, 255), ImageFont.load_default(12))
    for button in range(3):
        x = right - 12 - 18 * button
        pen.rectangle((x - 5, top + 6, x + 5, top + 16), outline=(255, 255, 255))
    for y in range(top + 32, bottom - 45 - size, size + 5):
        pen.text((left + 10, y), _words(random, int(random.integers(2, 8))), ink, font)
    for button in range(int(random.integers(1, 4))):
        x = right - 90 * (button + 1)
        pen.rounded_rectangle((x, bottom - 34, x + 78, bottom - 10), 4, accent)
        pen.text((x + 39, bottom - 22), _words(random, 1), (255, 255, 255), ImageFont.load_default(12), anchor="mm")
    return picture


def _drawing(random: np.random.Generator, number: int) -> Image.Image:
    """Draw lines, circles and regular polygons, half of them as outlines; for odd numbers on a coloured background."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), _colour(random, 150, 256) if number % 2 else (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(3, 9))):
        x, y = random.uniform(60, _WIDTH - 60), random.uniform(50, _HEIGHT - 50)
        radius, turn = random.uniform(20, 80), int(random.integers(0, 360))
        ink, width = _colour(random, 0, 150), int(random.integers(2, 6))
        fill = _colour(random, 40, 256) if number % 4 > 1 else None
        corners = int(random.integers(2, 8))
        if corners == 2:
            pen.line((x, y, random.uniform(20, _WIDTH - 20), random.uniform(20, _HEIGHT - 20)), ink, width)
        elif corners == 7:
            pen.circle((x, y), radius, fill, ink, width)
        else:
            pen.regular_polygon((x, y, radius), corners, turn, fill, ink, width)
    return picture


def _colour(random: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(channel) for channel in random.integers(low, high, 3))
    return red, green, blue


def _words(random: np.random.Generator, count: int) -> str:
    return " ".join(_WORDS[number] for number in random.integers(0, len(_WORDS), count))
