"""Start commands, and measure the time and memory of all their processes."""

import contextlib
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

_INTERVAL = 0.25  # seconds between two measurements of memory, which takes some milliseconds


@dataclass(frozen=True)
class Watched:
    """What was seen of a command.

    Attributes:
        status: exit status; None if it was killed at the time limit.
        seconds: from its start to its end.
        lines: its output, each line with the seconds since the start.
        peak_mb: largest memory of all its processes together.
    """

    status: int | None
    seconds: float
    lines: tuple[tuple[float, str], ...]
    peak_mb: float

    def error(self) -> str | None:
        """Return why the command failed, with the end of its output; None if it succeeded."""
        if self.status == 0:
            return None
        why = "killed at the time limit" if self.status is None else f"exit status {self.status}"
        return " | ".join([why, *(text for _, text in self.lines if text.strip())][-4:])


def watch(
    command: Sequence[str | Path],
    *,
    limit: float = 1800,
    settings: Mapping[str, str] | None = None,
    cpus: Sequence[int] = (),
) -> Watched:
    """Run a command in the repository.

    Args:
        command: the program and its arguments.
        limit: seconds after which it is killed.
        settings: additional environment variables.
        cpus: numbers of the CPUs that it may use; empty: all.
    """
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []
    start = time.monotonic()
    process = subprocess.Popen(
        [*pinned, *map(str, command)],
        cwd=ROOT,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[tuple[float, str]] = []

    def read() -> None:
        with process.stdout or contextlib.nullcontext(()) as output:
            for line in output:
                lines.append((round(time.monotonic() - start, 3), line.rstrip()))  # noqa: PERF401 - each line's time

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    peak, status = 0.0, None
    while status is None and time.monotonic() - start < limit:
        peak = max(peak, usage(process.pid)[1])
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(_INTERVAL)
    seconds = time.monotonic() - start
    if status is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    reader.join(5)
    return Watched(status, round(seconds, 3), tuple(lines), round(peak, 1))


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of this process and the given ones; Python may cache compiled modules."""
    variables = {**os.environ, **(settings or {})}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; empty if it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and the MB of a process and its descendants; Linux counts shared pages once (PSS)."""
    seconds = megabytes = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.Error):
            times, memory = process.cpu_times(), process.memory_full_info()
            seconds += times.user + times.system
            megabytes += (getattr(memory, "pss", 0) or memory.rss) / 1e6
    return seconds, megabytes
