"""How fast the service is, how far from the limit of its cores, and how it bears more than it can do.

    make bench

Starts the service as a person would, asks it on loopback, and writes a table and its JSON to benchmarks/.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks import table
from benchmarks.limit import limit
from benchmarks.load import load
from benchmarks.photos import SIZES, photo

PHOTOS = ("512 px", "12 MP")
PORT = 8765
URL = f"http://127.0.0.1:{PORT}"


@contextmanager
def _serving(models: Path, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(PORT)]
    process = subprocess.Popen(command, env=os.environ | {"SEEFOOD_MODELS": str(models)}, stdout=log, stderr=log)
    try:
        _wait()
        yield process
    finally:
        process.terminate()
        process.wait(40)


def _wait() -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{URL}/readyz", timeout=5) as answer:  # noqa: S310 - it is our own
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.01)


def _health(seconds: float) -> list[float]:
    """Ask /livez ten times a second, and return how long each answer took, in milliseconds."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        with urllib.request.urlopen(f"{URL}/livez", timeout=10) as answer:  # noqa: S310 - it is our own
            answer.read()
        took.append((time.monotonic() - started) * 1000)
        time.sleep(0.1)
    return took


def _overload(data: bytes, rate: float, seconds: float) -> dict[str, Any]:
    health: list[float] = []
    probe = threading.Thread(target=lambda: health.extend(_health(seconds)))
    probe.start()
    seen = load(f"{URL}/v1/predict", data, clients=300, seconds=seconds, rate=rate)
    probe.join()
    return {**seen, "health_max_ms": round(max(health), 1)}


def _memory(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the resident megabytes of each worker."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout  # noqa: S607
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in children.split()]
    return [page * os.sysconf("SC_PAGE_SIZE") // 1_000_000 for page in pages]


def measure(models: Path, seconds: float, rounds: int, cpus: int) -> dict[str, Any]:
    """Measure every row; the limit and the service take turns, so that a machine that changes its mind hits both."""
    rows: dict[str, Any] = {}
    for name in PHOTOS:
        data = photo(SIZES[name])
        turns = []
        for _ in range(rounds):
            most = limit(models, data, processes=cpus, seconds=seconds)
            with tempfile.TemporaryFile() as log, _serving(models, log):
                turns.append((most, load(f"{URL}/v1/predict", data, clients=8, seconds=seconds)))
        most, saturated = (
            statistics.mean(turn[0] for turn in turns),
            statistics.mean(turn[1]["per_second"] for turn in turns),
        )
        with tempfile.TemporaryFile() as log, _serving(models, log) as process:
            alone = load(f"{URL}/v1/predict", data, clients=1, seconds=seconds)
            busy = load(f"{URL}/v1/predict", data, clients=64, seconds=2 * seconds, rate=0.8 * saturated)
            over = _overload(data, 4 * saturated, 2 * seconds)
            memory = _memory(process)
        rows[name] = {
            "bytes": len(data),
            "limit": round(most, 2),
            "saturated": round(saturated, 2),
            "share": [round(turn[1]["per_second"] / turn[0], 3) for turn in turns],
            "alone": alone,
            "at 80%": busy,
            "at 400%": over,
            "workers_mb": memory,
        }
        print(json.dumps({name: rows[name]}), flush=True)
    return rows


def _ready(models: Path) -> float:
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        with _serving(models, log):
            return time.monotonic() - started


def _endure(models: Path, requests: int) -> tuple[int, list[list[int]]]:
    """Return how many requests were answered, at least so many, and the workers' memory every ten seconds meanwhile."""
    data = photo((160, 120))
    seen = []
    with tempfile.TemporaryFile() as log, _serving(models, log) as process:
        done = 0
        while done < requests:
            answers = load(f"{URL}/v1/predict", data, clients=8, seconds=10, warm_up=0)["statuses"]
            done += sum(answers.values())
            seen.append(_memory(process))
    return done, seen


@click.command()
@click.option("--models", default=Path("models"), type=click.Path(path_type=Path))
@click.option("--seconds", default=10.0)
@click.option("--rounds", default=3)
@click.option("--requests", default=50_000, help="How many to watch the memory over.")
@click.option("--out", default=Path(__file__).parent, type=click.Path(path_type=Path))
def main(models: Path, seconds: float, rounds: int, requests: int, out: Path) -> None:
    """Measure the service and write what was seen."""
    cpus = len(os.sched_getaffinity(0))
    photos = measure(models, seconds, rounds, cpus)
    answered, memory = _endure(models, requests)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": _cpu(), "cpus": cpus, "python": platform.python_version()},
        "ready_seconds": [round(_ready(models), 2) for _ in range(rounds)],
        "photos": photos,
        "requests": answered,
        "memory_mb": memory,
    }
    (out / "service.json").write_text(json.dumps(found, indent=1) + "\n")
    # Read again, as the table is tested against the file.
    table.write(json.loads((out / "service.json").read_text()), out)
    print(table.table(json.loads((out / "service.json").read_text())))


def _cpu() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
