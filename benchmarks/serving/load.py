"""Send photos to a service: a closed load with wrk (a fixed number of clients), or an open load with k6 (a fixed rate).

A client of a closed load sends its next request after the answer. Requests of an open load are sent on time even if the
service stalls, which avoids coordinated omission; a request is dropped if no client is free.
"""

import csv
import io
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

K6 = Path(sys.executable).with_name("k6")
_HERE = Path(__file__).parent
_POINTS = (50, 95, 99, 99.9)


@dataclass(frozen=True)
class Body:
    """The body of a request, in a file, and its headers."""

    path: Path
    headers: dict[str, str]

    @classmethod
    def of(cls, photo: bytes, folder: Path, form: str = "", headers: dict[str, str] | None = None) -> "Body":
        """Write the body for a JPEG, as it is or as a field of a form."""
        data, content_type = photo, "image/jpeg"
        if form:
            file = FileStorage(io.BytesIO(photo), "photo.jpg", content_type=content_type)
            boundary, data = encode_multipart({form: file})
            content_type = f"multipart/form-data; boundary={boundary}"
        path = folder / uuid.uuid4().hex
        path.write_bytes(data)
        return cls(path, {"Content-Type": content_type, **(headers or {})})


def load(
    url: str, body: Body, *, clients: int, seconds: float, rate: float | None = None, warm_up: float = 2
) -> dict[str, Any]:
    """Send photos for a time after the warm-up; the load is closed without a rate.

    Returns:
        answered: number of answers with status 200, including the warm-up.
        per_second: answers with status 200 per second, in the measured time.
        statuses: number of answers by status, in the measured time; 0 is a failed connection.
        ms_STATUS: p50, p95, p99, p99.9 and max of the latency in milliseconds; of answers received (closed load) or
            requests sent (open load) in the measured time.
        dropped: requests of an open load for which no client was free.
        failed: requests of a closed load whose connection broke or timed out.
        generator_cpu: share of one CPU that the load generator used.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        if rate:
            seen = _open(url, body, clients, warm_up + seconds, rate, Path(folder))
        else:
            seen = _closed(url, body, clients, warm_up + seconds, Path(folder))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = _summary(seen, seconds=seconds, warm_up=warm_up, by_start=rate is not None)
    return {**summary, "generator_cpu": round(cpu / (warm_up + seconds), 3)}


class _Seen(NamedTuple):
    """Answers, each with its time and latency in seconds and its status, and the numbers of the other requests."""

    answers: list[tuple[float, float, int]]
    dropped: int = 0
    failed: int = 0


def _closed(url: str, body: Body, clients: int, seconds: float, folder: Path) -> _Seen:
    # One connection per thread, because wrk does not tell a script to which request an answer belongs.
    command = ["wrk", f"-t{clients}", f"-c{clients}", f"-d{math.ceil(seconds)}s", "--timeout", "60s"]
    command += ["--script", str(_HERE / "closed.lua"), url, "--", str(body.path), str(folder)]
    printed = _run([*command, *(part for header in body.headers.items() for part in header)])
    lines = [line.split() for log in folder.iterdir() for line in log.read_text().splitlines()]
    answers = [(int(ended) / 1e6, int(took) / 1e6, int(status)) for ended, took, status in lines]
    return _Seen(answers, failed=sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", printed))))


def _open(url: str, body: Body, clients: int, seconds: float, rate: float, folder: Path) -> _Seen:
    variables = {"URL": url, "BODY": body.path, "HEADERS": json.dumps(body.headers)}
    variables |= {"CLIENTS": clients, "SECONDS": seconds, "RATE": rate}
    command = [str(K6), "run", "--quiet", "--no-summary", "--no-usage-report", "--out", f"csv={folder / 'rows.csv'}"]
    for name, value in variables.items():
        command += ["--env", f"{name}={value}"]
    # One thread and rare garbage collections, so that the generator uses little of the measured CPUs.
    settings = {"GOMAXPROCS": "1", "GOGC": "1000", "K6_CSV_TIME_FORMAT": "unix_micro", "K6_LOG_FORMAT": "raw"}
    _run([*command, str(_HERE / "open.js")], settings)
    answers, dropped = [], 0
    with (folder / "rows.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            value = float(row["metric_value"])
            if row["metric_name"] == "latency":
                status = int(row["extra_tags"].removeprefix("answer="))
                answers.append((int(row["timestamp"]) / 1e6, value / 1000, status))
            elif row["metric_name"] == "dropped_iterations":
                dropped += int(value)
    return _Seen(answers, dropped)


def _run(command: list[str], settings: dict[str, str] | None = None) -> str:
    try:
        ran = subprocess.run(command, env=os.environ | (settings or {}), capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SystemExit(f"{command[0]} is not installed; run apt-get install wrk or brew install wrk.") from error
    if ran.returncode:
        raise RuntimeError(f"{command[0]} ended with status {ran.returncode}: {ran.stderr.strip()[-500:]}")
    return ran.stdout


def _summary(seen: _Seen, *, seconds: float, warm_up: float, by_start: bool) -> dict[str, Any]:
    others = {"dropped": seen.dropped, "failed": seen.failed}
    if not seen.answers:
        return {"answered": 0, "per_second": 0.0, "statuses": {}, **others}
    end, latency, status = (np.array(column) for column in zip(*seen.answers, strict=True))
    start = end - latency
    first = start.min() + warm_up
    came = (end >= first) & (end < first + seconds)
    counted = (start >= first) & (start < first + seconds) if by_start else came
    return {
        "answered": int((status == 200).sum()),
        "per_second": round(float((came & (status == 200)).sum() / seconds), 3),
        "statuses": {str(code): count for code, count in sorted(Counter(status[came].tolist()).items())},
        **{f"ms_{code}": _percentiles(latency[counted & (status == code)]) for code in np.unique(status[counted])},
        **others,
    }


def _percentiles(latency: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    values = 1000 * np.percentile(latency, [*_POINTS, 100])
    names = [*(f"p{point}" for point in _POINTS), "max"]
    return {name: round(float(value), 1) for name, value in zip(names, values, strict=True)}
