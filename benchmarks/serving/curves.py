"""Measure SeeFood's throughput by number of clients, photo size and batch size."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import photos
from benchmarks.serving.contenders import SEEFOOD
from benchmarks.serving.load import Body, load
from benchmarks.serving.running import running
from service.model import open_model

_SIZES = {"0.05 MP": (256, 192), **photos.SIZES, "24 MP": (5656, 4242)}
_USUAL = "0.3 MP"
_CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BATCHES = (1, 2, 4, 8, 16, 32)


def measure(models: Path, *, seconds: float) -> dict[str, Any]:
    """Return the result of `load` by number of clients and by photo size, and inferences per second by batch size."""
    with tempfile.TemporaryDirectory() as scratch:
        bodies = {name: Body.of(photos.photo(size), Path(scratch)) for name, size in _SIZES.items()}
        settings = {"SEEFOOD_MODELS": str(models)}
        with running(SEEFOOD, bodies[_USUAL], settings=settings) as run:
            clients = {str(count): load(run.url, bodies[_USUAL], clients=count, seconds=seconds) for count in _CLIENTS}
            sizes = {
                name: {"bytes": body.path.stat().st_size, **load(run.url, body, clients=8, seconds=seconds)}
                for name, body in bodies.items()
            }
    return {"clients": clients, "sizes": sizes, "batches": _batches(models, seconds)}


def _batches(models: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return photos per second of inference on one thread, by precision and batch size."""
    rates: dict[str, dict[str, float]] = {}
    for precision in ("int8", "float32"):
        model = open_model(models, device="cpu", precision=precision)
        rates[precision] = {}
        for size in _BATCHES:
            pixels = np.random.default_rng(0).integers(0, 256, (size, model.size, model.size, 3), np.uint8)
            model.run(pixels)
            started, done = time.monotonic(), 0
            while time.monotonic() < started + seconds / 2:
                model.run(pixels)
                done += size
            rates[precision][str(size)] = round(done / (time.monotonic() - started), 2)
    return rates
