"""What the service writes on stderr: one JSON object a line, for each request and for what goes wrong."""

import logging
import time
from typing import Any

from flask import Flask, Response, g, has_request_context, request
from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

_log = logging.getLogger(__name__)


class JsonLines(JsonFormatter):
    """A log record as one line of JSON, with the request that it is about and its traceback as fields."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "process": "pid", "exc_info": "traceback"}
        super().__init__(["time", "levelname", "name", "process", "message"], rename_fields=names, timestamp="time")

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Add the request's identifier, wherever in the request the record was made."""
        super().add_fields(log_data, record, message_dict)
        if has_request_context():
            log_data["request_id"] = g.get("request_id")


CONFIG: dict[str, Any] = {  # of Python's logging; gunicorn takes it in place of its own
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonLines}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {
        "service": {"level": "INFO"},
        "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
    },
}


def register(app: Flask) -> None:
    """Write a line about each of the app's requests."""
    app.after_request(_log_request)


def _log_request(response: Response) -> Response:
    about = {
        "method": request.method,
        "route": request.url_rule.rule if request.url_rule else None,
        "path": request.path,  # without the query, which is the client's own affair
        "status": response.status_code,
        "duration_ms": round((time.perf_counter() - g.started) * 1000, 2),
        "remote": request.remote_addr,
        "bytes_in": request.content_length,
    }
    _log.info("request", extra=about)
    return response
