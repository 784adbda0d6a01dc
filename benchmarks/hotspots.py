"""Where the CPU time of a request goes: what each kind of thread of the service takes under load.

python -m benchmarks --only hotspots
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.contenders import SEEFOOD
from benchmarks.load import Body, load
from benchmarks.photos import SIZES, photo
from benchmarks.processes import running

PHOTOS = ("0.3 MP", "12 MP")
PY_SPY = Path(sys.executable).with_name("py-spy")
THREADS = {  # by what Python calls them
    "ThreadPoolExecutor": "HTTP, the body, Flask, inference, metrics and logs (request threads)",
    "decoder": "giving photos to decoders (a thread for each)",
    "ExecutorManagerThread": "taking squares from decoders (loky's threads)",
    "MainThread": "decoding (decoder processes), and connections (gunicorn's main thread)",
}


def measure(models: Path, *, seconds: float) -> dict[str, Any]:
    """Return by photo size the CPU milliseconds of each photo by kind of thread, in user and kernel, or an `error`."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in PHOTOS:
            body = Body.of(photo(SIZES[name]), Path(scratch))
            with running(SEEFOOD, body, settings={"SEEFOOD_MODELS": str(models)}) as run:
                load(run.url, body, clients=8, seconds=1, warm_up=0)  # so that all threads have begun
                workers = [process.pid for process in run.tree()[1:]]
                try:
                    kinds = {pid: _kinds(pid) for pid in workers}
                except subprocess.CalledProcessError as error:
                    found[name] = {"error": error.stderr.strip()[-300:]}
                    continue
                before = sum((_taken(pid, kinds[pid]) for pid in workers), Counter())
                seen = load(run.url, body, clients=8, seconds=2 * seconds, warm_up=0)
                taken = sum((_taken(pid, kinds[pid]) for pid in workers), Counter())
                taken.subtract(before)
                found[name] = {
                    "per_second": seen["per_second"],
                    "load_ms": round(1000 * seen["generator_cpu"] / seen["per_second"], 2),
                    "ms": {kind: round(count / seen["answered"], 2) for kind, count in taken.most_common()},
                }
    return found


def _kinds(pid: int) -> dict[int, str]:
    """Return what each thread of a process does, by its id; py-spy knows Python's names for them."""
    dump = subprocess.run([PY_SPY, "dump", "--pid", str(pid)], capture_output=True, text=True, check=True).stdout
    names = re.findall(r'^Thread (\d+) .*?: "(.*?)"', dump, re.MULTILINE)
    return {int(thread): THREADS.get(re.split("[-_]", name)[0], "other threads") for thread, name in names}


def _taken(pid: int, kinds: dict[int, str]) -> Counter[str]:
    """Return the CPU milliseconds that a process has taken so far, by kind of thread and where."""
    taken: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        kind = kinds.get(int(task.name), "other threads")
        for where, ticks in (("", fields[11]), (", in the kernel", fields[12])):
            taken[kind + where] += int(ticks) * 10  # a tick is a hundredth of a second
    return taken


if __name__ == "__main__":
    import json

    print(json.dumps(measure(Path("models"), seconds=3), indent=1))
