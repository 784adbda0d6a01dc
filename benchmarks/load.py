"""A load of photos: closed (clients that ask again when answered) or open (a fixed rate, whatever the answers do).

    python -m benchmarks.load URL PHOTO --clients 8 --seconds 20 [--rate 30]

Prints one JSON object. In an open load a latency is counted from the moment when the request should have left, so that
a service which stalls can't hide it (no coordinated omission). Its own share of a CPU is in the answer.
"""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import numpy as np


@dataclass
class Seen:
    """What the clients saw: by status, and how long each answer took, in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: dict[int, list[float]] = field(default_factory=dict)
    failures: int = 0

    def note(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.latencies.setdefault(status, []).append(seconds)

    def summary(self, status: int) -> dict[str, float]:
        """Return the percentiles of one status, in milliseconds."""
        seconds = self.latencies.get(status, [])
        points = np.percentile(seconds, [50, 95, 99, 99.9]) * 1000 if seconds else [float("nan")] * 4
        return {
            name: round(float(value), 1) for name, value in zip(("p50", "p95", "p99", "p99.9"), points, strict=True)
        } | {"max": round(max(seconds, default=float("nan")) * 1000, 1)}


def load(
    url: str, photo: bytes, *, clients: int, seconds: float, rate: float | None = None, warm_up: float = 2
) -> dict[str, Any]:
    """Ask for so many seconds, and return what was seen after the warm-up."""
    target = urlsplit(url)
    seen, lock = Seen(), threading.Lock()
    start = time.monotonic()
    end = start + warm_up + seconds
    due = _due(start, end, rate)

    def ask() -> None:
        connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        while True:
            with lock:
                planned = next(due, None)
            if planned is None:
                connection.close()
                return
            time.sleep(max(0, planned - time.monotonic()))
            began = planned if rate else time.monotonic()
            try:
                connection.request("POST", target.path, photo, {"Content-Type": "image/jpeg"})
                response = connection.getresponse()
                response.read()
                status = response.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            now = time.monotonic()
            if start + warm_up <= now < end:
                with lock:
                    seen.note(status, now - began)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    cpu = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "per_second": round(seen.statuses[200] / seconds, 2),
        "statuses": dict(seen.statuses),
        **{f"ms_{status}": seen.summary(status) for status in seen.statuses},
        "generator_cpu": round((time.process_time() - cpu) / (time.monotonic() - start), 3),
    }


def _due(start: float, end: float, rate: float | None) -> Iterator[float]:
    planned = start
    while planned < end:
        yield planned
        planned = planned + 1 / rate if rate else time.monotonic()


@click.command()
@click.argument("url")
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--clients", default=8)
@click.option("--seconds", default=10.0)
@click.option("--rate", type=float)
def main(url: str, photo: Path, clients: int, seconds: float, rate: float | None) -> None:
    """Load a service and print what was seen."""
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(load(url, photo.read_bytes(), clients=clients, seconds=seconds, rate=rate)))


if __name__ == "__main__":
    main()
