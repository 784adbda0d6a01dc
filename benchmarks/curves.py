"""How SeeFood's throughput goes with photo size, clients and batch size.

python -m benchmarks --only curves
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import photos
from benchmarks.contenders import SEEFOOD
from benchmarks.load import Body, load
from benchmarks.processes import running
from service.model import open_model

SIZES = {"0.05 MP": (256, 192), **photos.SIZES, "24 MP": (5656, 4242)}
USUAL = "0.3 MP"
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCHES = (1, 2, 4, 8, 16, 32)


def measure(models: Path, *, seconds: float) -> dict[str, Any]:
    """Return photos a second over each, and over clients the percentiles and statuses too."""
    with tempfile.TemporaryDirectory() as scratch:
        bodies = {name: Body.of(photos.photo(size), Path(scratch)) for name, size in SIZES.items()}
        settings = {"SEEFOOD_MODELS": str(models)}
        with running(SEEFOOD, bodies[USUAL], settings=settings) as run:
            clients = {str(count): load(run.url, bodies[USUAL], clients=count, seconds=seconds) for count in CLIENTS}
            sizes = {
                name: {"bytes": body.path.stat().st_size, **load(run.url, body, clients=8, seconds=seconds)}
                for name, body in bodies.items()
            }
    return {"clients": clients, "sizes": sizes, "batches": _batches(models, seconds)}


def _batches(models: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return inferences of one thread by precision and batch size, in photos a second."""
    rates: dict[str, dict[str, float]] = {}
    for precision in ("int8", "float32"):
        model = open_model(models, device="cpu", precision=precision)
        rates[precision] = {}
        for size in BATCHES:
            pixels = np.random.default_rng(0).integers(0, 256, (size, model.size, model.size, 3), np.uint8)
            model.run(pixels)
            started, done = time.monotonic(), 0
            while time.monotonic() < started + seconds / 2:
                model.run(pixels)
                done += size
            rates[precision][str(size)] = round(done / (time.monotonic() - started), 2)
    return rates
