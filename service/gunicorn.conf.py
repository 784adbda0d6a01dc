"""How gunicorn runs the service; every value that a person may set comes from Settings."""

from pathlib import Path

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
