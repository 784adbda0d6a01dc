"""How SeeFood bears it: one client, most of what it can do, four times that, clients without patience, 50,000 requests.

python -m benchmarks --only strain
"""

import itertools
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.contenders import FRONT, SEEFOOD
from benchmarks.load import Body, load
from benchmarks.photos import SIZES, photo
from benchmarks.processes import Running, running

PHOTOS = ("0.3 MP", "12 MP")
CLIENTS = 300  # of an open load: more than the service lets wait
IMPATIENT = 256  # clients that ask again at once, also when they are refused


def measure(models: Path, *, seconds: float, requests: int) -> dict[str, Any]:
    """Return latencies, refusals and health under loads, by photo size and door, and memory over many requests."""
    settings = {"SEEFOOD_MODELS": str(models)}
    loads: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for size, contender in itertools.product(PHOTOS, (SEEFOOD, FRONT)):
            body, name = Body.of(photo(SIZES[size]), Path(scratch)), f"{size}, {contender.name}"
            with running(contender, body, settings=settings) as run:
                most = load(run.url, body, clients=8, seconds=seconds)["per_second"]
                loads[name] = {
                    "saturated": most,
                    "alone": load(run.url, body, clients=1, seconds=seconds),
                    "at 80%": load(run.url, body, clients=64, seconds=2 * seconds, rate=0.8 * most),
                    "at 400%": _overload(run, body, CLIENTS, 2 * seconds, 4 * most),
                    "without patience": _overload(run, body, IMPATIENT, 2 * seconds),
                    "again": load(run.url, body, clients=8, seconds=seconds)["per_second"],
                }
            print(name, {key: value for key, value in loads[name].items() if isinstance(value, float)}, flush=True)
        small = Body.of(photo((160, 120)), Path(scratch))
        with running(SEEFOOD, small, settings=settings) as run:
            answered, memory = _endure(run, small, requests)
    return {"loads": loads, "requests": answered, "memory_mb": memory}


def _overload(run: Running, body: Body, clients: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
    health: list[float] = []
    probe = threading.Thread(target=lambda: health.extend(_health(run.url, seconds)))
    probe.start()
    seen = load(run.url, body, clients=clients, seconds=seconds, rate=rate)
    probe.join()
    return {**seen, "health_max_ms": round(max(health), 1)}


def _health(url: str, seconds: float) -> list[float]:
    """Ask /livez ten times a second, and return how long each answer took, in milliseconds."""
    health = f"{url.rsplit('/v1', 1)[0]}/livez"
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        with urllib.request.urlopen(health, timeout=10) as answer:  # noqa: S310 - it is our own
            answer.read()
        took.append((time.monotonic() - started) * 1000)
        time.sleep(0.1)
    return took


def _endure(run: Running, body: Body, requests: int) -> tuple[int, list[int]]:
    """Return how many requests were answered, at least so many, and the MB of all processes every ten seconds."""
    done, memory = 0, []
    while done < requests:
        done += load(run.url, body, clients=8, seconds=10, warm_up=0)["answered"]
        memory.append(round(run.usage()[1]))
    return done, memory
