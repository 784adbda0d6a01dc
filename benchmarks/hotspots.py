"""Where the time of a request goes: samples of a worker's stacks under load, by py-spy.

python -m benchmarks --only hotspots
"""

import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.contenders import SEEFOOD
from benchmarks.load import Body, load
from benchmarks.photos import SIZES, photo
from benchmarks.processes import running

PHOTOS = ("0.3 MP", "12 MP")
PY_SPY = Path(sys.executable).with_name("py-spy")
# The first that a stack, read from its innermost frame outwards, passes through.
PLACES = {
    "decoding": ("service/photo.py",),
    "inference": ("service/model.py",),
    "batches and queues": ("service/batcher.py", "service/pipeline.py", "concurrent/", "queue.py"),
    "metrics and logs": ("service/metrics.py", "service/logs.py", "prometheus_client/", "logging/"),
    "receiving the body": ("service/body.py",),
    "sharing between processes": ("service/worker.py",),
    "Flask and the answer": ("service/", "flask/", "werkzeug/", "json/"),
    "gunicorn": ("gunicorn/",),
}


def measure(models: Path, *, seconds: float) -> dict[str, Any]:
    """Return by photo size the share of busy samples in each of PLACES and in `elsewhere`, or an `error`."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in PHOTOS:
            body = Body.of(photo(SIZES[name]), Path(scratch))
            with running(SEEFOOD, body, settings={"SEEFOOD_MODELS": str(models)}) as run:
                worker = run.tree()[1].pid
                asking = threading.Thread(
                    target=load, args=(run.url, body), kwargs={"clients": 8, "seconds": seconds + 3, "warm_up": 0}
                )
                asking.start()
                found[name] = _sample(worker, seconds, Path(scratch) / "stacks")
                asking.join()
    return found


def _sample(pid: int, seconds: float, stacks: Path) -> dict[str, Any]:
    command = [str(PY_SPY), "record", "--pid", str(pid), "--duration", str(round(seconds)), "--rate", "200"]
    ran = subprocess.run(
        [*command, "--format", "raw", "--full-filenames", "--output", str(stacks)], capture_output=True, text=True
    )
    if ran.returncode:
        return {"error": ran.stderr.strip()[-300:]}
    counts: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, count = line.rsplit(" ", 1)
        counts[_place(stack.split(";"))] += int(count)
    total = sum(counts.values())
    return {place: round(count / total, 3) for place, count in counts.most_common()}


def _place(frames: list[str]) -> str:
    for frame in reversed(frames):
        for place, files in PLACES.items():
            if any(f"/{file}" in frame for file in files):
                return place
    return "elsewhere"
