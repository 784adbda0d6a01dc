"""A command, watched from outside: when it said what, how long it took, and the memory of all its processes."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]

_COMPILED = ROOT / "runs" / "compiled"
_EVERY = 0.25  # seconds between looks at the memory, each of which costs some milliseconds
_MB = 1e6


@dataclass(frozen=True)
class Watched:
    """What was seen of a command.

    Attributes:
        status: of its exit; None where it was stopped for taking too long.
        seconds: from its start to its end.
        lines: all it said, each with the seconds since its start.
        peak_mb: the most memory that it and its children had at once, in megabytes.
    """

    status: int | None
    seconds: float
    lines: tuple[tuple[float, str], ...]
    peak_mb: float

    def error(self) -> str | None:
        """Return why it can't be used, with the end of what it said; None: it can."""
        if self.status == 0:
            return None
        why = "stopped for taking too long" if self.status is None else f"exit status {self.status}"
        return " | ".join([why, *(text for _, text in self.lines if text.strip())][-4:])


def watch(
    command: Sequence[str | Path], *, limit: float, env: Mapping[str, str] | None = None, cpus: Sequence[int] = ()
) -> Watched:
    """Run a command in the repository and watch it.

    Args:
        command: the program and its arguments.
        limit: seconds after which it is killed with its children.
        env: variables beside those of this process.
        cpus: numbers of the CPUs that it may use; none: those that this process may.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        [*_bound(cpus), *map(str, command)],
        cwd=ROOT,
        env={**_environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[tuple[float, str]] = []
    reader = threading.Thread(target=_read, args=(process, lines, start), daemon=True)
    reader.start()
    peak, status = 0.0, None
    while status is None and time.monotonic() - start < limit:
        peak = max(peak, memory_mb(process.pid))
        try:
            status = process.wait(_EVERY)
        except subprocess.TimeoutExpired:
            continue
    seconds = time.monotonic() - start
    if status is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(5)
    return Watched(status, round(seconds, 3), tuple(lines), round(peak, 1))


def warm_up(python: str, modules: Sequence[str]) -> None:
    """Import each of the modules in a process of its own, so that none of them is measured reading a cold disk."""
    for module in modules:
        watch([python, "-c", f"import {module}"], limit=600)


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its children; on Linux a page that they share counts once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in processes:
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(memory, "pss", 0) or memory.rss
    return total / _MB


def _environment() -> dict[str, str]:
    """Return the variables of this process, but keep compiled modules even where they may not lie by their sources.

    Without them a start takes two to three times as long, which no ordinary installation's does.
    """
    environment = dict(os.environ)
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        environment["PYTHONPYCACHEPREFIX"] = str(_COMPILED)
    return environment


def _bound(cpus: Sequence[int]) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []


def _read(process: "subprocess.Popen[str]", lines: list[tuple[float, str]], start: float) -> None:
    if process.stdout is not None:
        for line in process.stdout:
            lines.append((round(time.monotonic() - start, 3), line.rstrip()))  # noqa: PERF401 - one a moment
