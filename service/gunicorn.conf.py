"""How gunicorn runs the service: one process, with threads; what a person may set comes from Settings."""

import resource
from pathlib import Path

from service import logs
from service.settings import Settings

_settings = Settings.from_env()
_open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

wsgi_app = "service.app:serve()"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
worker_class = "gthread"
workers = 1  # decoders are processes of their own, and a model is in memory once
threads = _settings.threads
worker_connections = max(threads + 1, min(8192, _open_files - 200))  # most of them idle
keepalive = 75  # longer than the minute for which load balancers keep theirs, or they would send into a closed one
forwarder_headers = ""  # SCRIPT_NAME and PATH_INFO are no client's to set
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its own unnamed file there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # a heartbeat on a disk can stall a worker
logconfig_dict = logs.CONFIG
control_socket_disable = True  # a service writes nothing into the home directory of who started it
