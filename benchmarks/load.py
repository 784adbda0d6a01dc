"""A load of photos by k6: closed (clients that ask again when answered) or open (a fixed rate, whatever comes back).

    python -m benchmarks.load URL PHOTO --clients 8 --seconds 20 [--rate 30]

Prints one JSON object. In an open load requests leave on time whether or not others were answered, so that a service
which stalls can't hide it (no coordinated omission); those for which no client was free are counted as dropped. What
the load itself costs of a CPU is in the answer.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

K6 = Path(sys.executable).with_name("k6")
SCRIPT = Path(__file__).with_name("load.js")
POINTS = (50, 95, 99, 99.9)


@dataclass(frozen=True)
class Body:
    """The very bytes of a request's body, in a file, and its headers."""

    path: Path
    headers: dict[str, str]

    @classmethod
    def of(cls, photo: bytes, folder: Path, form: str = "", headers: dict[str, str] | None = None) -> "Body":
        """Write the body that sends a JPEG: as it is, or as the only file of a form's field."""
        path = folder / uuid.uuid4().hex
        if not form:
            path.write_bytes(photo)
            return cls(path, {"Content-Type": "image/jpeg", **(headers or {})})
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{form}"; filename="photo.jpg"\r\n'
        path.write_bytes(
            f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo + f"\r\n--{boundary}--\r\n".encode()
        )
        return cls(path, {"Content-Type": f"multipart/form-data; boundary={boundary}", **(headers or {})})


def load(
    url: str, body: Body, *, clients: int, seconds: float, rate: float | None = None, warm_up: float = 2
) -> dict[str, Any]:
    """Ask for so many seconds after the warm-up, and return what was seen of them.

    Returns:
        answered: answers with 200, those of the warm-up too.
        per_second: answers with 200 that came in the measured time, by its seconds.
        statuses: how many answers came, by status; 0 is a connection that failed.
        ms_STATUS: p50, p95, p99, p99.9 and max of the latencies, in milliseconds. Of a closed load those of answers
            that came in the measured time, of an open one those of requests that left in it.
        dropped: requests of an open load that no client was free to send.
        generator_cpu: share of one CPU that the load itself took.
    """
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        asked = {
            "URL": url,
            "BODY": str(body.path),
            "HEADERS": json.dumps(body.headers),
            "CLIENTS": clients,
            "SECONDS": warm_up + seconds,
            "RATE": rate or 0,
        }
        command = [str(K6), "run", "--quiet", "--no-summary", "--no-usage-report", "--out", f"csv={rows}", str(SCRIPT)]
        for name, value in asked.items():
            command += ["--env", f"{name}={value}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # One thread and rare collections: the load should take as little as it can from what it measures.
        settings = {"GOMAXPROCS": "1", "GOGC": "1000", "K6_CSV_TIME_FORMAT": "unix_micro", "K6_LOG_FORMAT": "raw"}
        ran = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"k6 ended with status {ran.returncode}: {ran.stderr.strip()[-500:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seen = _summary(rows, seconds=seconds, warm_up=warm_up, by_start=rate is not None)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**seen, "generator_cpu": round(cpu / (warm_up + seconds), 3)}


def _summary(rows: Path, *, seconds: float, warm_up: float, by_start: bool) -> dict[str, Any]:
    ended, took, status, dropped = [], [], [], 0
    with rows.open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["metric_name"] == "latency":
                ended.append(int(row["timestamp"]) / 1e6)
                took.append(float(row["metric_value"]))
                status.append(int(row["extra_tags"].removeprefix("answer=")))
            elif row["metric_name"] == "dropped_iterations":
                dropped += int(float(row["metric_value"]))
    if not ended:
        return {"answered": 0, "per_second": 0.0, "statuses": {}, "dropped": dropped}
    end, milliseconds, answer = np.array(ended), np.array(took), np.array(status)
    start = end - milliseconds / 1000
    first = start.min() + warm_up
    came = (end >= first) & (end < first + seconds)
    counted = (start >= first) & (start < first + seconds) if by_start else came
    return {
        "answered": int((answer == 200).sum()),
        "per_second": round(float((came & (answer == 200)).sum() / seconds), 3),
        "statuses": {str(code): count for code, count in sorted(Counter(answer[came].tolist()).items())},
        **{f"ms_{code}": _percentiles(milliseconds[counted & (answer == code)]) for code in np.unique(answer[counted])},
        "dropped": dropped,
    }


def _percentiles(milliseconds: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, float]:
    values = np.percentile(milliseconds, POINTS)
    named = {f"p{point}": round(float(value), 1) for point, value in zip(POINTS, values, strict=True)}
    return {**named, "max": round(float(milliseconds.max()), 1)}


@click.command()
@click.argument("url")
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--form", default="", help="Send the photo as this field of a form.")
@click.option("--clients", default=8)
@click.option("--seconds", default=10.0)
@click.option("--rate", type=float)
def main(url: str, photo: Path, form: str, clients: int, seconds: float, rate: float | None) -> None:
    """Load a service and print what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        body = Body.of(photo.read_bytes(), Path(folder), form)
        print(json.dumps(load(url, body, clients=clients, seconds=seconds, rate=rate)))


if __name__ == "__main__":
    main()
