"""How gunicorn runs the service; every value that a person may set comes from Settings."""

import signal
from pathlib import Path
from typing import Any

import loky

from service.settings import Settings

_settings = Settings.from_env()

wsgi_app = "service.app:worker()"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
workers = _settings.workers or loky.cpu_count()  # what affinity and the cgroup quota leave, not what the machine has
threads = _settings.threads
preload_app = False  # each worker opens its own session: ONNX Runtime's threads do not survive a fork
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its own unnamed file there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # a heartbeat on a disk can stall a worker
accesslog = "-"
control_socket_disable = True  # a service writes nothing into the home directory of who started it


def post_worker_init(worker: Any) -> None:
    """Let Ctrl-C finish what is in flight, as SIGTERM does.

    gunicorn's own handler shuts the thread pool down from within the signal, and can wait for ever for the pool's lock.
    """
    signal.signal(signal.SIGINT, worker.handle_exit)
    signal.signal(signal.SIGQUIT, worker.handle_exit)
