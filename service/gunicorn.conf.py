"""The configuration of gunicorn: one worker process with threads; Settings has what a user can change."""

import resource
from pathlib import Path

from service import logs
from service.settings import Settings

_settings = Settings.from_env()
_open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

wsgi_app = "service.app:serve()"
bind = _settings.address
worker_class = "gthread"
workers = 1  # photos are decoded in processes of their own, and one worker holds the model in memory once
threads = _settings.threads
worker_connections = max(threads + 1, min(8192, _open_files - 200))  # includes idle connections
keepalive = 75  # longer than the 60 seconds of most load balancers, which would else reuse a closed connection
forwarder_headers = ""  # clients must not set SCRIPT_NAME and PATH_INFO
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn creates an unnamed file of its own there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # a heartbeat file on a disk can block a worker
logconfig_dict = logs.CONFIG
control_socket_disable = True  # the service writes nothing into the user's home directory
