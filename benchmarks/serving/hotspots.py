"""Measure the CPU time of each kind of thread of the service under load."""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.markdown import FEW
from benchmarks.photos import SIZES, photo
from benchmarks.serving.contenders import SEEFOOD
from benchmarks.serving.load import Body, load
from benchmarks.serving.running import running

_PY_SPY = Path(sys.executable).with_name("py-spy")
_OTHER = "other threads"
_THREADS = {  # by thread name
    "ThreadPoolExecutor": "request threads: HTTP, Flask, inference, metrics and logs",
    "decoder": "threads that send photos to decoders",
    "ExecutorManagerThread": "threads that receive pixels from decoders",
    "MainThread": "main threads: decoder processes, gunicorn's connections",
}


def measure(models: Path, *, seconds: float) -> dict[str, Any]:
    """Return by photo size the CPU milliseconds per photo by kind of thread, in user mode and in the kernel."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in FEW:
            body = Body.of(photo(SIZES[name]), Path(scratch))
            with running(SEEFOOD, body, settings={"SEEFOOD_MODELS": str(models)}) as run:
                load(run.url, body, clients=8, seconds=1, warm_up=0)  # starts all threads
                workers = [process.pid for process in run.tree()[1:]]
                try:
                    kinds = {pid: _kinds(pid) for pid in workers}
                except subprocess.CalledProcessError as error:
                    found[name] = {"error": error.stderr.strip()[-300:]}
                    continue
                before = sum((_cpu_ms(pid, kinds[pid]) for pid in workers), Counter())
                seen = load(run.url, body, clients=8, seconds=2 * seconds, warm_up=0)
                taken = sum((_cpu_ms(pid, kinds[pid]) for pid in workers), Counter())
                taken.subtract(before)
                found[name] = {
                    "per_second": seen["per_second"],
                    "load_ms": round(1000 * seen["generator_cpu"] / seen["per_second"], 2),
                    "ms": {kind: round(count / seen["answered"], 2) for kind, count in taken.most_common()},
                }
    return found


def _kinds(pid: int) -> dict[int, str]:
    """Return the kind of each thread of a process by its id; py-spy reads the names that Python gives them."""
    dump = subprocess.run([_PY_SPY, "dump", "--pid", str(pid)], capture_output=True, text=True, check=True).stdout
    names = re.findall(r'^Thread (\d+) .*?: "(.*?)"', dump, re.MULTILINE)
    return {int(thread): _THREADS.get(re.split("[-_]", name)[0], _OTHER) for thread, name in names}


def _cpu_ms(pid: int, kinds: dict[int, str]) -> Counter[str]:
    """Return the CPU milliseconds of a process so far, by kind of thread and mode."""
    taken: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        kind = kinds.get(int(task.name), _OTHER)
        for mode, ticks in (("", fields[11]), (", in the kernel", fields[12])):
            taken[kind + mode] += int(ticks) * 10  # a tick is 10 ms
    return taken
