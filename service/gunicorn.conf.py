"""How gunicorn runs the service; every value that a person may set comes from Settings.

gunicorn reads this file at the start and on SIGHUP, which swaps to the version that is current, or phone, by then.
Nothing that is imported here may import ONNX Runtime: its threads do not survive the fork into a worker, which then
can't end.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from service import logs, metrics_folder
from service.errors import SeeFoodError
from service.registry import CURRENT, version_of
from service.settings import Settings
from service.worker import PatientWorker

_SERVING = "SEEFOOD_SERVING"  # the version that the workers serve, for this file to find when it is read again
_settings = Settings.from_env()


def _can_be_served(version: str) -> bool:
    """Start the application on a version in a process of its own; it says on stderr what is wrong."""
    start = f"from service.app import worker; worker({version!r})"
    alone = {name: value for name, value in os.environ.items() if name != metrics_folder.VARIABLE}  # it is no worker
    return subprocess.run([sys.executable, "-P", "-c", start], env=alone, check=False).returncode == 0  # noqa: S603


def _version() -> tuple[str, bool]:
    """Return the version to serve, and whether new workers are to take over, which they are not if they can't serve."""
    before = os.environ.get(_SERVING)
    try:
        asked = version_of(_settings.models, _settings.model or CURRENT)
    except SeeFoodError as error:
        if before is None:
            raise
        sys.stderr.write(f"seefood: {error}\n")
        asked = ""
    if before is not None and not (asked and _can_be_served(asked)):
        sys.stderr.write(f"seefood: still serving {before}.\n")
        return before, False
    os.environ[_SERVING] = asked
    return asked, True


_serve, _take_over = _version()
metrics_folder.make()


def on_starting(server: Arbiter) -> None:
    """Make the place where workers offer each other what they have no time for."""
    server.offered = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in server.offered:
        end.setblocking(False)


def pre_fork(server: Arbiter, worker: PatientWorker) -> None:
    """Show each worker that place."""
    worker.offered = server.offered


def on_reload(server: Arbiter) -> None:
    """Start no new workers where they could not serve, so that gunicorn keeps those that do."""
    if not _take_over:
        server.cfg.set("workers", 0)
    for worker in server.WORKERS.values():
        # gunicorn waits until the workers are younger than this; those that stay would keep it waiting.
        worker.age = server.worker_age + (0 if _take_over else 0.5)


def child_exit(_: Arbiter, worker: Worker) -> None:
    """Keep the metrics right when a worker has ended, killed ones included."""
    metrics_folder.forget(worker.pid)


wsgi_app = f"service.app:worker({_serve!r})"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = PatientWorker
workers = _settings.processes
threads = _settings.threads
worker_connections = 8192  # most of them idle: they wait where they cost no thread
keepalive = 75  # longer than the minute for which load balancers keep theirs, or they would send into a closed one
forwarder_headers = ""  # SCRIPT_NAME and PATH_INFO are no client's to set
preload_app = False  # each worker opens its own session, after the fork
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its own unnamed file there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # a heartbeat on a disk can stall a worker
logger_class = logs.Logger  # which writes the requests too, in place of gunicorn's accesslog
control_socket_disable = True  # a service writes nothing into the home directory of who started it
