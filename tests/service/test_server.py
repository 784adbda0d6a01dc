"""The service under gunicorn on a loopback port, over HTTP."""

import base64
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import loky
import psutil
import pytest
from PIL import Image

from scoring.score import score
from service.model import Verdict, open_model
from service.settings import Settings
from tests.fixtures.drawing import LABELS, draw, encode
from tests.fixtures.server import BOUNDARY, Response, Server, multipart, serving
from tests.fixtures.tiny_model import METADATA, write_tiny_model

pytestmark = pytest.mark.slow

FORM = f"multipart/form-data; boundary={BOUNDARY}"


def test_a_served_model_predicts_as_the_exported_file(server: Server, trained_models: Path, drawn: Path) -> None:
    paths = sorted(drawn.rglob("*.jpg"))[::16]
    body = server.post_photos(*(path.read_bytes() for path in paths)).json()
    expected = [one.probability for _, one in score(open_model(trained_models), paths) if isinstance(one, Verdict)]
    assert [p["probability"] for p in body["predictions"]] == pytest.approx(expected, abs=2e-3)
    assert all(p["label"] in LABELS and p["hotdog"] == (p["label"] == "hotdog") for p in body["predictions"])


def test_every_way_to_send_a_photo_gets_the_same_prediction(server: Server) -> None:
    photo = encode(draw("hotdog", 5))
    form = server.post_photos(photo)
    raw = server.request("POST", "/v1/predict", photo, "image/jpeg")
    text = json.dumps({"image": base64.b64encode(photo).decode()})
    as_json = server.request("POST", "/v1/predict", text, "application/json")
    answers = [answer.json()["predictions"][0]["probability"] for answer in (form, raw, as_json)]
    assert answers[0] == answers[1] == answers[2]


def test_parallel_clients_get_their_own_predictions(server: Server) -> None:
    photos = [encode(draw(LABELS[i % 2], i)) for i in range(12)]
    alone = [server.post_photos(photo).json()["predictions"][0]["probability"] for photo in photos]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda photo: server.post_photos(photo).json(), photos * 4))
    assert [body["predictions"][0]["probability"] for body in together] == alone * 4
    assert len({body["request_id"] for body in together}) == len(together)


def test_readiness_and_model_version_are_reported(server: Server, trained_models: Path) -> None:
    current = (trained_models / "current").read_text().strip()
    assert server.request("GET", "/livez").status == 200
    assert server.request("GET", "/readyz").json()["model"] == current
    assert server.request("GET", "/v1/model").json()["version"] == current


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    [
        ("POST", "/v1/predict", b"", None, 415),
        ("POST", "/v1/predict", b"", "image/jpeg", 400),
        ("POST", "/v1/predict", b"rubbish", "image/jpeg", 400),
        ("POST", "/v1/predict", multipart(b"rubbish"), FORM, 400),
        ("POST", "/v1/predict", multipart(encode(draw("hotdog", 1)), field="file"), FORM, 400),
        ("POST", "/v1/predict", multipart(encode(draw("hotdog", 1))[:900]), FORM, 400),
        ("POST", "/v1/predict", multipart(encode(draw("hotdog", 1), "TIFF")), FORM, 415),
        ("POST", "/v1/predict", encode(Image.new("1", (12_000, 12_000)), "PNG"), "image/png", 413),
        ("POST", "/v1/predict", b"{}", "application/json", 400),
        ("GET", "/v1/predict", None, None, 405),
        ("DELETE", "/v1/model", None, None, 405),
        ("GET", "/hotdog", None, None, 404),
    ],
)
def test_bad_input_gets_its_problem(
    server: Server, method: str, path: str, body: bytes | None, content_type: str | None, status: int
) -> None:
    _check_problem(server.request(method, path, body, content_type), status)


@pytest.mark.parametrize("megabytes", [21, 30, 90])
@pytest.mark.parametrize("way", ["form", "raw"])
def test_a_too_large_body_gets_413_while_it_is_sent(server: Server, way: str, megabytes: int) -> None:
    """The response arrives although the client is still sending: the connection is not reset."""
    body = b"\xff" * (megabytes * 1_000_000)
    answer = server.post_photos(body) if way == "form" else server.request("POST", "/v1/predict", body, "image/jpeg")
    _check_problem(answer, 413)


@pytest.mark.parametrize("kind", [FORM, "image/jpeg"])
def test_a_too_large_chunked_body_is_refused_before_its_end(tiny_models: Path, kind: str) -> None:
    photo = b"\xff" * (Settings().max_bytes * 4 // 3 + 200_000)
    body = multipart(photo) if kind == FORM else photo
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(tiny_models) as running:
        small = (multipart(photo[:21_000_000]) if kind == FORM else photo[:21_000_000],)
        _check_problem(running.request("POST", "/v1/predict", iter(small), kind), 413)
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
            connection.sendall(head.encode())
            for start in range(0, len(body), 65536):
                piece = body[start : start + 65536]
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_client_that_disconnects_does_not_affect_others(server: Server) -> None:
    for _ in range(8):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf a pho")
    assert server.request("GET", "/livez").status == 200
    assert server.post_photos(encode(draw("hotdog", 1))).status == 200


def test_other_labels_are_served_under_their_own_name(tiny_models: Path, tmp_path: Path) -> None:
    named = replace(METADATA, name="cat", positive_label="cat", negative_label="dog")
    path = write_tiny_model(tmp_path / "cats.onnx", named.to_properties())
    with serving(tiny_models, SEEFOOD_MODEL=str(path)) as cats:
        body = cats.post_photos(encode(Image.new("RGB", (30, 30), "red"))).json()
    assert body["model"]["name"] == "cat"
    assert (body["predictions"][0]["label"], body["predictions"][0]["cat"]) == ("cat", True)


def test_there_is_one_decoder_for_each_available_cpu(tiny_models: Path) -> None:
    """With one CPU available, the service runs one decoder, and one for large photos."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system can't bind a process to a CPU")
    before = os.sched_getaffinity(0)
    with serving(tiny_models) as running:
        assert len(running.decoders()) == loky.cpu_count() + 1, "one of them for large photos"
    os.sched_setaffinity(0, {min(before)})
    try:
        with serving(tiny_models) as running:
            assert (len(running.workers()), len(running.decoders())) == (1, 2)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(tiny_models: Path, stop: signal.Signals) -> None:
    with serving(tiny_models) as running:
        processes = psutil.Process(running.process.pid).children(recursive=True)
        # gunicorn 27.0.1 can block on SIGINT while it hands a request to a thread: its handler takes the same lock.
        time.sleep(1)
        running.process.send_signal(stop)
        assert running.process.wait(30) == 0
        log = running.log()
    assert "Traceback" not in log
    assert "was sent SIG" not in log, "gunicorn did not have to kill the worker"
    assert len(processes) > 2
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 2.0])
def test_it_stops_cleanly_during_a_restart(tiny_models: Path, seconds: float) -> None:
    with serving(tiny_models) as running:
        running.process.send_signal(signal.SIGHUP)
        time.sleep(seconds)
        processes = psutil.Process(running.process.pid).children(recursive=True)
        assert processes
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(40) == 0
        assert "Traceback" not in running.log()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def _check_problem(answer: Response, status: int) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == status
    assert b"Traceback" not in answer.body
