"""Logging: one JSON object a line on stderr, for each request and for each error."""

import logging
import time
from typing import Any

from flask import Response, g, has_request_context, request
from pythonjsonlogger.json import JsonFormatter

_log = logging.getLogger(__name__)


def json_formatter() -> JsonFormatter:
    """Return the formatter of all log lines; a traceback is one of the fields."""
    names = {"levelname": "level", "name": "logger", "process": "pid", "exc_info": "traceback"}
    return JsonFormatter(["time", "levelname", "name", "process", "message"], rename_fields=names, timestamp="time")


def add_request_id(record: logging.LogRecord) -> bool:
    """Add the identifier of the current request to a log record, as a filter of a handler."""
    if has_request_context():
        record.request_id = g.get("request_id")
    return True


CONFIG: dict[str, Any] = {  # for logging.config; it replaces gunicorn's own
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": json_formatter}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": [add_request_id]}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {
        "service": {"level": "INFO"},
        "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
    },
}


def log_request(response: Response) -> Response:
    """Log the current request, as a function of `Flask.after_request`; return the response."""
    fields = {
        "method": request.method,
        "route": request.url_rule.rule if request.url_rule else None,
        "path": request.path,  # without the query string, which may be private
        "status": response.status_code,
        "duration_ms": round((time.perf_counter() - g.started) * 1000, 2),
        "remote": request.remote_addr,
        "bytes_in": request.content_length,
    }
    _log.info("request", extra=fields)
    return response
