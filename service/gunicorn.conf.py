"""How gunicorn runs the service; every value that a person may set comes from Settings."""

from pathlib import Path
from types import FrameType

import loky
from gunicorn.workers.gthread import ThreadWorker

from service.settings import Settings


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that finishes what is in flight on Ctrl-C, as it does on SIGTERM.

    gunicorn's own shuts its thread pool down from within the signal's handler, and so can wait for ever for the pool's
    lock, or find no pool yet while it boots.
    """

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Treat SIGINT and SIGQUIT as SIGTERM."""
        self.handle_exit(sig, frame)


_settings = Settings.from_env()

wsgi_app = "service.app:worker()"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = DrainingWorker
workers = _settings.workers or loky.cpu_count()  # what affinity and the cgroup quota leave, not what the machine has
threads = _settings.threads
preload_app = False  # each worker opens its own session: ONNX Runtime's threads do not survive a fork
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its own unnamed file there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # a heartbeat on a disk can stall a worker
accesslog = "-"
control_socket_disable = True  # a service writes nothing into the home directory of who started it
