"""Start a contender, wait until it answers a photo, measure its processes, and stop it."""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO
from urllib.request import Request, urlopen

import psutil

from benchmarks.processes import ROOT, environment, tree, usage
from benchmarks.serving.contenders import Contender
from benchmarks.serving.load import Body

_START_SECONDS = 180


@dataclass
class Running:
    """A contender that answers.

    Attributes:
        url: address for POST requests with photos.
        ready_seconds: from its start to the first answered photo.
    """

    contender: Contender
    url: str
    process: subprocess.Popen[bytes]
    ready_seconds: float = 0

    def tree(self) -> list[psutil.Process]:
        """Return all its processes."""
        return tree(self.process.pid)

    def usage(self) -> tuple[float, float]:
        """Return the CPU seconds and the MB of all its processes."""
        return usage(self.process.pid)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend all its processes, so that an idle contender does not slow the measured one."""
        processes = self.tree()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def ask(self, body: Body) -> bytes:
        """POST one photo and return the answer; raises OSError or HTTPException if its status is not 2xx."""
        request = Request(self.url, body.path.read_bytes(), body.headers)  # noqa: S310 - a local URL
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - a local URL
            data: bytes = answer.read()
            return data


@contextlib.contextmanager
def running(contender: Contender, body: Body, *, settings: dict[str, str] | None = None) -> Iterator[Running]:
    """Start a contender, wait for its first answer, and stop all its processes at the end.

    Raises:
        RuntimeError: it did not start; the message has the end of its output.
    """
    cpus = len(os.sched_getaffinity(0))
    port = _free_port()
    command = [part.format(port=port, cpus=cpus) for part in contender.command]
    variables = {"BENCH_CPUS": str(cpus), "PYTHONPATH": str(ROOT)} | contender.settings | (settings or {})
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(variables), stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise RuntimeError(f"{contender.name} is not installed: {error}.") from error
        run = Running(contender, f"http://127.0.0.1:{port}{contender.path}", process)
        try:
            _wait(run, body, started + _START_SECONDS, log)
            run.ready_seconds = round(time.monotonic() - started, 2)
            yield run
        finally:
            _stop(run)


def _wait(run: Running, body: Body, deadline: float, log: IO[bytes]) -> None:
    last: Exception | None = None
    while run.process.poll() is None and time.monotonic() < deadline:
        try:
            run.ask(body)
        except (OSError, HTTPException) as error:
            last = error
            time.sleep(0.02)
        else:
            return
    log.seek(0)
    output = log.read().decode(errors="replace").strip()[-1500:]
    raise RuntimeError(f"{run.contender.name} did not start ({last}). Its output: {output}")


def _stop(run: Running) -> None:
    processes = run.tree()
    run.process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    run.process.wait(5)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
