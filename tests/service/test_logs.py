"""stderr has one JSON object on each line: requests, errors and messages of gunicorn."""

import io
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.logs import add_request_id, json_formatter
from tests.fixtures.painting import RED
from tests.fixtures.server import multipart, serving


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Return the output of the service's loggers, as lines of JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(json_formatter())
    handler.addFilter(add_request_id)
    logger = logging.getLogger("service")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.setLevel(level)
    logger.removeHandler(handler)


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if not line.startswith("seefood: ")]


def test_a_request_is_one_line(client: FlaskClient, written: io.StringIO) -> None:
    answer = client.post(
        "/v1/predict?heatmap=true&secret=1", data=RED, content_type="image/png", headers={"X-Request-ID": "mine"}
    )
    assert answer.status_code == 200
    (line,) = _lines(written.getvalue())
    assert abs(datetime.fromisoformat(line.pop("time")).timestamp() - time.time()) < 60
    assert 0 < line.pop("duration_ms") < 60_000
    assert line == {
        "level": "INFO",
        "logger": "service.logs",
        "pid": os.getpid(),
        "message": "request",
        "method": "POST",
        "route": "/v1/predict",
        "path": "/v1/predict",
        "status": 200,
        "remote": "127.0.0.1",
        "bytes_in": len(RED),
        "request_id": "mine",
    }


def test_no_file_name_is_written(client: FlaskClient, written: io.StringIO) -> None:
    client.post("/v1/predict", data={"image": (io.BytesIO(b"broken"), "grandma.png")})
    assert "grandma" not in written.getvalue()
    assert len(_lines(written.getvalue())) == 1


def test_a_path_can_not_forge_a_line(client: FlaskClient, written: io.StringIO) -> None:
    client.get('/nothing%0A{"status": 200}')
    (line,) = _lines(written.getvalue())
    assert (line["status"], line["route"], line["path"]) == (404, None, '/nothing\n{"status": 200}')


def test_an_unexpected_error_is_logged_with_its_request_id(
    client: FlaskClient, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("reason")

    monkeypatch.setattr(client.application.extensions["model_manager"].current.model, "run", fail)
    answer = client.post("/v1/predict", data=RED, content_type="image/png")
    failure, request = _lines(written.getvalue())
    assert (failure["level"], failure["logger"]) == ("ERROR", "service.problems")
    assert failure["traceback"].startswith("Traceback")
    assert failure["traceback"].endswith("ZeroDivisionError: reason")
    identifier = json.loads(answer.data)["request_id"]
    assert failure["request_id"] == request["request_id"] == answer.headers["X-Request-ID"] == identifier
    assert (request["status"], "traceback" in request) == (500, False)
    assert b"reason" not in answer.data.replace(b"has the reason", b"")


def test_a_line_outside_of_a_request_has_no_request_id(written: io.StringIO) -> None:
    logging.getLogger("service.model").warning("Serving on the CPU.")
    (line,) = _lines(written.getvalue())
    assert (line["message"], "request_id" in line) == ("Serving on the CPU.", False)


@pytest.mark.slow
def test_a_server_logs_json_and_startup_sentences(tiny_models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(tiny_models) as server:
        assert server.post_photos(RED).status == 200
        broken = server.request("POST", "/v1/predict", multipart(b"no photo"), "multipart/form-data; boundary=none")
        assert broken.status == 400
        os.kill(server.workers()[0], signal.SIGKILL)
        server.process.send_signal(signal.SIGHUP)
        time.sleep(2)
        assert server.stop() == 0
        log = server.log()
    # Python's resource tracker warns of a killed process in two lines of plain text.
    lines = _lines("\n".join(line for line in log.splitlines() if "resource_tracker" not in line))
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    asked = [line for line in lines if line.get("path") == "/v1/predict"]
    assert [(line["status"], line["bytes_in"] > 0) for line in asked] == [(200, True), (400, True)]
    assert asked[1]["request_id"] == broken.headers["x-request-id"]
    assert {"gunicorn.error", "service.logs"} == {line["logger"] for line in lines}
    assert "photo.jpg" not in log
    assert log.startswith("seefood: serving on http://127.0.0.1:")
    assert capfd.readouterr().out == "", "each request is logged once"
