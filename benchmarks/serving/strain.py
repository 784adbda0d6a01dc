"""Measure SeeFood under overload, and its memory over many requests."""

import itertools
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.markdown import FEW
from benchmarks.photos import SIZES, photo
from benchmarks.serving.contenders import FRONT, SEEFOOD
from benchmarks.serving.load import Body, load
from benchmarks.serving.running import Running, running

_CLIENTS = 300  # of an open load: more than the service lets wait
_RETRYING = 256  # clients that send again at once, even after a refusal


def measure(models: Path, *, seconds: float, requests: int) -> dict[str, Any]:
    """Return the results of several loads by photo size and contender, and the memory over many requests."""
    settings = {"SEEFOOD_MODELS": str(models)}
    loads: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for size, contender in itertools.product(FEW, (SEEFOOD, FRONT)):
            body, name = Body.of(photo(SIZES[size]), Path(scratch)), f"{size}, {contender.name}"
            with running(contender, body, settings=settings) as run:
                most = load(run.url, body, clients=8, seconds=seconds)["per_second"]
                loads[name] = {
                    "saturated": most,
                    "alone": load(run.url, body, clients=1, seconds=seconds),
                    "at 80%": load(run.url, body, clients=64, seconds=2 * seconds, rate=0.8 * most),
                    "at 400%": _overload(run, body, _CLIENTS, 2 * seconds, 4 * most),
                    "without patience": _overload(run, body, _RETRYING, 2 * seconds),
                    "again": load(run.url, body, clients=8, seconds=seconds)["per_second"],
                }
            print(name, {key: value for key, value in loads[name].items() if isinstance(value, float)}, flush=True)
        small = Body.of(photo((160, 120)), Path(scratch))
        with running(SEEFOOD, small, settings=settings) as run:
            answered, memory = 0, []
            while answered < requests:
                answered += load(run.url, small, clients=8, seconds=10, warm_up=0)["answered"]
                memory.append(round(run.usage()[1]))
    return {"loads": loads, "requests": answered, "memory_mb": memory}


def _overload(run: Running, body: Body, clients: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
    health: list[float] = []
    probe = threading.Thread(target=lambda: health.extend(_health(run.url, seconds)))
    probe.start()
    seen = load(run.url, body, clients=clients, seconds=seconds, rate=rate)
    probe.join()
    return {**seen, "health_max_ms": round(max(health), 1)}


def _health(url: str, seconds: float) -> list[float]:
    """Request /livez ten times per second, and return the latencies in milliseconds."""
    health = f"{url.rsplit('/v1', 1)[0]}/livez"
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        with urllib.request.urlopen(health, timeout=10) as answer:  # noqa: S310 - a local URL
            answer.read()
        took.append((time.monotonic() - started) * 1000)
        time.sleep(0.1)
    return took
