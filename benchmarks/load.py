"""A load of photos: closed, by wrk (clients that ask again when answered), or open, by k6 (a fixed rate).

    python -m benchmarks.load URL PHOTO --clients 8 --seconds 20 [--rate 30]

Prints one JSON object. In an open load requests leave on time whether or not others were answered, so that a service
which stalls can't hide it (no coordinated omission); those for which no client was free are counted as dropped. What
the load itself costs of a CPU is in the answer.
"""

import csv
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

K6 = Path(sys.executable).with_name("k6")
HERE = Path(__file__).parent
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
        failed: requests of a closed load whose connection broke or timed out.
        generator_cpu: share of one CPU that the load itself took.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        if rate:
            rows = _open(url, body, clients, warm_up + seconds, rate, Path(folder))
        else:
            rows = _closed(url, body, clients, warm_up + seconds, Path(folder))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seen = _summary(rows, seconds=seconds, warm_up=warm_up, by_start=rate is not None)
    return {**seen, "generator_cpu": round(cpu / (warm_up + seconds), 3)}


@dataclass
class _Rows:
    """Every answer: when it came, in seconds, how long it took, in milliseconds, and its status; and what had none."""

    ended: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    dropped: int = 0
    failed: int = 0

    def add(self, ended: str, took: float, status: str) -> None:
        """Note one answer, at so many microseconds."""
        self.ended.append(int(ended) / 1e6)
        self.took.append(took)
        self.status.append(int(status))


def _closed(url: str, body: Body, clients: int, seconds: float, folder: Path) -> _Rows:
    # A thread a connection, as wrk tells a script of answers and not which request they are to.
    command = ["wrk", f"-t{clients}", f"-c{clients}", f"-d{math.ceil(seconds)}s", "--timeout", "60s"]
    command += ["--script", str(HERE / "closed.lua"), url, "--", str(body.path), str(folder)]
    printed = _run([*command, *(part for header in body.headers.items() for part in header)])
    rows = _Rows(failed=sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", printed))))
    for log in folder.iterdir():
        for line in log.read_text().splitlines():
            ended, took, status = line.split()
            rows.add(ended, int(took) / 1000, status)
    return rows


def _open(url: str, body: Body, clients: int, seconds: float, rate: float, folder: Path) -> _Rows:
    told = {"URL": url, "BODY": body.path, "HEADERS": json.dumps(body.headers)}
    told |= {"CLIENTS": clients, "SECONDS": seconds, "RATE": rate}
    command = [str(K6), "run", "--quiet", "--no-summary", "--no-usage-report", "--out", f"csv={folder / 'rows.csv'}"]
    for name, value in told.items():
        command += ["--env", f"{name}={value}"]
    # One thread and rare collections: the load should take as little as it can from what it measures.
    settings = {"GOMAXPROCS": "1", "GOGC": "1000", "K6_CSV_TIME_FORMAT": "unix_micro", "K6_LOG_FORMAT": "raw"}
    _run([*command, str(HERE / "open.js")], settings)
    rows = _Rows()
    with (folder / "rows.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["metric_name"] == "latency":
                rows.add(row["timestamp"], float(row["metric_value"]), row["extra_tags"].removeprefix("answer="))
            elif row["metric_name"] == "dropped_iterations":
                rows.dropped += int(float(row["metric_value"]))
    return rows


def _run(command: list[str], settings: dict[str, str] | None = None) -> str:
    try:
        ran = subprocess.run(command, env=os.environ | (settings or {}), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SystemExit(f"{command[0]} is not installed: apt-get install wrk, or brew install wrk.") from error
    if ran.returncode:
        raise RuntimeError(f"{command[0]} ended with status {ran.returncode}: {ran.stderr.strip()[-500:]}")
    return ran.stdout


def _summary(rows: _Rows, *, seconds: float, warm_up: float, by_start: bool) -> dict[str, Any]:
    if not rows.ended:
        return {"answered": 0, "per_second": 0.0, "statuses": {}, "dropped": rows.dropped, "failed": rows.failed}
    end, milliseconds, answer = np.array(rows.ended), np.array(rows.took), np.array(rows.status)
    start = end - milliseconds / 1000
    first = start.min() + warm_up
    came = (end >= first) & (end < first + seconds)
    counted = (start >= first) & (start < first + seconds) if by_start else came
    return {
        "answered": int((answer == 200).sum()),
        "per_second": round(float((came & (answer == 200)).sum() / seconds), 3),
        "statuses": {str(code): count for code, count in sorted(Counter(answer[came].tolist()).items())},
        **{f"ms_{code}": _percentiles(milliseconds[counted & (answer == code)]) for code in np.unique(answer[counted])},
        "dropped": rows.dropped,
        "failed": rows.failed,
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
