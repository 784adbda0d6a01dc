"""Slow, disconnected or too many clients, killed processes, unusable models: other requests are still answered."""

import json
import os
import shutil
import signal
import socket
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.fixtures.disk import mounted_or_skipped
from tests.fixtures.load import asking, until
from tests.fixtures.painting import RED_JPEG
from tests.fixtures.server import Response, Server, serving
from tests.fixtures.tiny_model import write_tiny_registry, write_tiny_version

pytestmark = pytest.mark.slow

FORMAT = b"Content-Type: image/jpeg\r\n"
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (FORMAT, len(RED_JPEG))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry with the versions `tiny`, which is current, and `new`."""
    models = write_tiny_registry(tmp_path / "models")
    write_tiny_version(models, "new")
    return models


def _post(server: Server) -> Response:
    return server.request("POST", "/v1/predict", RED_JPEG, "image/jpeg")


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def _errors(server: Server) -> list[str]:
    """Return the messages in the log at level ERROR."""
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line["message"] for line in lines if line["level"] == "ERROR"]


def test_many_idle_connections_do_not_block_others(models: Path) -> None:
    """A new connection has a thread for some seconds; an idle one that has had a response has none."""
    with serving(models) as server, ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(_connect(server))
        for _ in range(500):
            kept = stack.enter_context(_connect(server))
            kept.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(12) == b"HTTP/1.1 200"
        for _ in range(20):
            assert _post(server).status == 200
        assert server.stop() == 0


def test_slow_clients_do_not_block_others(models: Path) -> None:
    """Each has a thread while it sends; a proxy in front would buffer their requests."""
    with serving(models) as server, ExitStack() as stack:
        slow = [stack.enter_context(_connect(server)) for _ in range(14)]
        for index, one in enumerate(slow):
            one.sendall(HEAD[:30] if index % 2 else HEAD + RED_JPEG[:100])
        for step in range(3):
            for index, one in enumerate(slow):
                one.sendall(HEAD[30 + step : 31 + step] if index % 2 else RED_JPEG[100 + step : 101 + step])
            for _ in range(5):
                assert _post(server).status == 200
            time.sleep(1)
        slow[0].sendall(RED_JPEG[103:])
        assert slow[0].recv(12) == b"HTTP/1.1 200", "a slow request is still valid"


def test_a_client_that_shuts_down_sending_gets_its_response(models: Path) -> None:
    with serving(models) as server, _connect(server) as half:
        half.sendall(HEAD + RED_JPEG)
        half.shutdown(socket.SHUT_WR)
        assert half.recv(12) == b"HTTP/1.1 200"


def test_an_incomplete_body_gets_400_or_408(models: Path) -> None:
    with serving(models) as server, _connect(server) as half, _connect(server) as silent:
        silent.sendall(HEAD + RED_JPEG[:-1])
        half.sendall(HEAD + RED_JPEG[:-1])
        half.shutdown(socket.SHUT_WR)
        assert half.recv(12) == b"HTTP/1.1 400"
        assert silent.recv(12) == b"HTTP/1.1 408"


def test_stopping_waits_for_photos_and_not_for_idle_connections(models: Path) -> None:
    with serving(models) as server, _connect(server), _connect(server) as sending:
        sending.sendall(HEAD + RED_JPEG[:100])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        sending.sendall(RED_JPEG[100:])
        assert sending.recv(12) == b"HTTP/1.1 200"
        assert server.process.wait(20) == 0, "it did not wait for the idle connection"


@pytest.mark.parametrize("pointer", ["current", "phone"])
def test_a_promotion_fails_no_request(models: Path, pointer: str) -> None:
    (models / pointer).write_text("tiny\n")
    with serving(models, SEEFOOD_MODEL="" if pointer == "current" else pointer) as server:
        workers = server.workers()
        with asking(server.port, RED_JPEG) as load:
            for version in ("new", "tiny", "new"):
                time.sleep(0.5)
                (models / pointer).write_text(f"{version}\n")
                until(lambda: server.version() == version)  # noqa: B023 - called at once
            time.sleep(0.5)
        assert load.versions == {"tiny", "new"}
        assert (load.failures, set(load.statuses)) == ([], {200})
        assert server.workers() == workers
        assert _errors(server) == []


def test_a_restart_on_hup_fails_no_request(models: Path) -> None:
    """During the restart, the old or the new process answers each request."""
    with serving(models) as server:
        with asking(server.port, RED_JPEG) as load:
            for version in ("new", "tiny"):
                time.sleep(0.5)
                before = server.workers()
                (models / "current").write_text(f"{version}\n")
                server.process.send_signal(signal.SIGHUP)
                until(lambda: len(server.workers()) == 1 and server.workers() != before)  # noqa: B023 - called at once
                until(lambda: server.version() == version)  # noqa: B023
        assert load.versions == {"tiny", "new"}
        assert (load.failures, set(load.statuses)) == ([], {200})
        assert _errors(server) == []


@pytest.mark.parametrize("wrong", ["corrupt", "absent", "no current"])
@pytest.mark.parametrize("hup", [False, True])
def test_an_unusable_model_leaves_the_old_one(models: Path, wrong: str, hup: bool) -> None:
    if wrong == "corrupt":
        (models / "new" / "model.int8.onnx").write_bytes(b"not an ONNX file")
    if wrong == "absent":
        shutil.rmtree(models / "new")
    with serving(models) as server:
        with asking(server.port, RED_JPEG) as load:
            if wrong == "no current":
                (models / "current").unlink()
            else:
                (models / "current").write_text("new\n")
            if hup:
                server.process.send_signal(signal.SIGHUP)
            until(lambda: any("serving tiny: " in line for line in _errors(server)))
            time.sleep(3)
            assert server.version() == "tiny"
        assert (load.failures, set(load.statuses)) == ([], {200})
        assert b"seefood_model_refused_total 1.0" in server.request("GET", "/metrics").body
        told = [line for line in _errors(server) if line.startswith("still serving tiny: ")]
        assert len(told) <= 1 if hup else len(told) == 1
        (models / "current").write_text("tiny\n")
        assert _post(server).status == 200
        server.stop()
        assert "Traceback" not in server.log()


def test_a_killed_process_restarts_with_the_promoted_version(models: Path) -> None:
    with serving(models) as server:
        (worker,) = server.workers()
        decoders = server.decoders()
        with asking(server.port, RED_JPEG, clients=4) as load:
            time.sleep(0.5)
            os.kill(worker, signal.SIGKILL)
            until(lambda: len(server.workers()) == 1 and server.workers() != [worker])
            time.sleep(2)
        assert len(load.failures) <= 4, "at most the requests that were in flight"
        assert set(load.statuses) == {200}
        until(lambda: not any(psutil.pid_exists(decoder) for decoder in decoders))
        (models / "current").write_text("new\n")
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: server.version() == "new")


def test_a_killed_process_restarts_with_the_old_version_if_the_new_is_unusable(models: Path) -> None:
    with serving(models) as server:
        (worker,) = server.workers()
        (models / "current").unlink()
        os.kill(worker, signal.SIGKILL)
        until(lambda: len(server.workers()) == 1 and server.workers() != [worker])
        assert server.version() == "tiny", "the version that the command had opened"


def test_overload_is_refused_and_health_checks_still_work(models: Path) -> None:
    """All responses are 200 or 429, and each 429 has Retry-After."""
    with serving(models, SEEFOOD_QUEUE="2", SEEFOOD_MAX_IMAGES="1") as server:
        with asking(server.port, RED_JPEG, clients=24) as load:
            for _ in range(20):
                assert server.request("GET", "/livez").status == 200
                assert server.request("GET", "/readyz").status == 200
        assert not load.failures
        assert set(load.statuses) == {200, 429}


def test_a_refused_request_keeps_its_connection(models: Path) -> None:
    """A client can send the next request on the same connection, although most of the refused body was not read."""
    large = RED_JPEG + b"\0" * 1_000_000
    with serving(models, SEEFOOD_QUEUE="1", SEEFOOD_MAX_IMAGES="1") as server:
        client = HTTPConnection("127.0.0.1", server.port, timeout=20)
        with asking(server.port, RED_JPEG, clients=4):
            statuses: set[int] = set()
            sockets: set[socket.socket | None] = set()
            while statuses != {200, 429}:
                statuses.add(_ask(client, "/v1/predict", large))
                sockets.add(client.sock)
        assert len(sockets) == 1
        assert _ask(client, "/v1/nothing", RED_JPEG) == 404
        assert _ask(client, "/v2/models/pizza/infer", RED_JPEG) == 404
        assert _ask(client, "/v1/predict", large) == 200
        assert sockets == {client.sock}
        client.close()


def test_bodies_in_memory_are_limited(models: Path) -> None:
    """Many large photos at a time are refused before they fill the memory, even if earlier requests are slow."""
    large = HEAD.replace(str(len(RED_JPEG)).encode(), b"15000000")
    with serving(models) as server:
        with ExitStack() as stack:
            unfinished = [stack.enter_context(_connect(server)) for _ in range(6)]
            for one in unfinished:
                one.sendall(large + b"\0" * 14_999_999)
            until(lambda: b"seefood_photos_in_flight 6.0" in server.request("GET", "/metrics").body)
            assert server.request("POST", "/v1/predict", b"\0" * 15_000_000, "image/jpeg").status == 429
            chunks = (b"\0" * 1_000_000 for _ in range(15))
            assert server.request("POST", "/v1/predict", chunks, "image/jpeg").status == 429
            assert _post(server).status == 200, "a small body is still admitted"
            unfinished[0].sendall(b"\0")
            assert unfinished[0].recv(12) == b"HTTP/1.1 400"
            assert server.request("POST", "/v1/predict", b"\0" * 15_000_000, "image/jpeg").status == 400
        until(lambda: b"seefood_photos_in_flight 0.0" in server.request("GET", "/metrics").body)


def _ask(client: HTTPConnection, path: str, photo: bytes) -> int:
    client.request("POST", path, photo, {"Content-Type": "image/jpeg"})
    with client.getresponse() as response:
        response.read()
        return response.status


def test_a_full_temporary_folder_is_not_the_fault_of_the_client(tiny_models: Path) -> None:
    """A form of more than 500 kB is written to a file while it is received."""
    with (
        TemporaryDirectory() as short,  # the name of a socket in it has at most 107 characters
        mounted_or_skipped(Path(short, "disk"), "size=1m") as disk,
        serving(tiny_models, TMPDIR=str(disk)) as server,
    ):
        answer = server.post_photos(RED_JPEG + b"\0" * 2_000_000)
        assert (answer.status, answer.json()["title"]) == (500, "Internal Server Error")
        assert "No space left on device" in server.log()
        assert server.post_photos(RED_JPEG).status == 200
