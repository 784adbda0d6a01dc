"""Start a contender as a person would, wait until it answers a photo, see what it takes, and end it wholly."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import Contender
from benchmarks.load import Body

PATIENCE = 180  # seconds until a contender that does not answer is given up
ROOT = Path(__file__).parent.parent


@dataclass
class Running:
    """A contender that answers.

    Attributes:
        url: where photos are POSTed.
        ready_seconds: from the command to the first answered photo.
    """

    contender: Contender
    url: str
    process: subprocess.Popen[bytes]
    ready_seconds: float = 0

    def tree(self) -> list[psutil.Process]:
        """Return its processes, those that it started among them."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def usage(self) -> tuple[float, float]:
        """Return the CPU seconds that its processes took so far, and the MB that they hold, shared pages once."""
        seconds = held = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
                held += process.memory_full_info().pss / 1e6
        return seconds, held

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold all its processes still, so that an idle one costs the other nothing."""
        stopped = self.tree()
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def ask(self, body: Body) -> tuple[int, bytes]:
        """POST one photo, and return the status and the answer."""
        host, port = self.url.removeprefix("http://").split("/")[0].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/" + self.url.split("/", 3)[3], body.path.read_bytes(), body.headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def running(contender: Contender, body: Body, *, settings: dict[str, str] | None = None) -> Iterator[Running]:
    """Start a contender, wait for its first answer, and end it and all that it started.

    Raises:
        RuntimeError: it can't be started, ended, or did not answer in PATIENCE seconds; with what it printed last.
    """
    cpus = len(os.sched_getaffinity(0))
    port = _free_port()
    command = [part.format(port=port, cpus=cpus) for part in contender.command]
    environment = os.environ | {"BENCH_CPUS": str(cpus), "PYTHONPATH": str(ROOT)} | contender.settings
    environment |= settings or {}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start would compile all that it imports again
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise RuntimeError(f"{contender.name} is not installed: {error}.") from error
        run = Running(contender, f"http://127.0.0.1:{port}{contender.path}", process)
        try:
            _wait(run, body, started, log)
            run.ready_seconds = round(time.monotonic() - started, 2)
            yield run
        finally:
            _end(run)


def _wait(run: Running, body: Body, started: float, log: Any) -> None:
    last = "it accepted no connection"
    while run.process.poll() is None and time.monotonic() < started + PATIENCE:
        try:
            status, answer = run.ask(body)
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            continue
        if status == 200:
            return
        last = f"it answered {status}: {answer[:200].decode(errors='replace')}"
        time.sleep(0.05)
    log.seek(0)
    printed = log.read().decode(errors="replace").strip()[-1500:]
    raise RuntimeError(f"{run.contender.name} did not come up; {last}. It printed: {printed}")


def _end(run: Running) -> None:
    try:
        processes = run.tree()
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
    run.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(20)
    _, alive = psutil.wait_procs(processes, timeout=3)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
