"""Requests of hostile or broken clients get a problem, and never a 500, a traceback or another route."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.fixtures.bombs import BOMBS
from tests.fixtures.load import until
from tests.fixtures.memory import peak_memory
from tests.fixtures.painting import RED_JPEG
from tests.fixtures.server import BOUNDARY, Server, free_port, multipart, serving, wait_until_ready

pytestmark = pytest.mark.slow

FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def quiet(tiny_models: Path) -> Iterator[Server]:
    """Run a service, and check at the end that its log has no warning and no error."""
    with serving(tiny_models) as server:
        yield server
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        assert lines
        assert [line for line in lines if line["level"] != "INFO"] == []


def _exchange(server: Server, sent: bytes) -> bytes:
    """Send bytes, shut down the sending side, and return the whole response."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        pieces = iter(lambda: connection.recv(65536), b"")
        return b"".join(pieces)


@pytest.mark.parametrize("kind", ["image/jpeg", "application/json", FORM])
@pytest.mark.parametrize(
    "body",
    [b"zz\r\nabc\r\n0\r\n\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"-5\r\nab", b"5\r\nab", b""],
    ids=["no number", "longer than it says", "below zero", "cut off", "nothing"],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/hotdog/infer"])
def test_a_malformed_chunked_body_gets_400(quiet: Server, path: str, kind: str, body: bytes) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = _exchange(quiet, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"urn:problem-type:seefood:" in answer


@pytest.mark.parametrize("path", ["/nothing", "/v2/models/pizza/infer", "/v1/model", "/livez", "/v1/predict"])
def test_an_unread_body_does_not_close_the_connection(quiet: Server, path: str) -> None:
    """Clients reuse connections, and lose the next request if the server closes one without notice."""
    connection = HTTPConnection("127.0.0.1", quiet.port, timeout=20)
    for _ in range(3):
        connection.request("POST", path, bytes(300_000), {"Content-Type": "text/plain"})
        first = connection.sock
        answer = connection.getresponse()
        assert answer.read() and answer.status in (404, 405, 415)
        assert connection.sock is first, "the connection was closed"
    connection.close()


def test_a_connection_reset_is_not_logged_as_an_error(quiet: Server) -> None:
    with socket.create_connection(("127.0.0.1", quiet.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head + b"half a photo")
    assert quiet.post_photos(RED_JPEG).status == 200


def test_a_file_name_that_is_not_utf8_gets_a_sentence(quiet: Server) -> None:
    answer = quiet.request("POST", "/v1/predict", multipart(RED_JPEG).replace(b"photo", b"caf\xe9"), FORM)
    assert (answer.status, answer.json()["type"]) == (400, "urn:problem-type:seefood:bad-form")
    assert answer.json()["detail"].endswith("and names of fields and files in UTF-8.")


@pytest.mark.parametrize("header", ["SCRIPT_NAME", "SCRIPT-NAME", "PATH_INFO", "X-Forwarded-Prefix"])
def test_headers_can_not_change_the_route(quiet: Server, header: str) -> None:
    answer = quiet.request("GET", "/v1/livez", **{header: "/v1"})
    assert (answer.status, answer.json()["type"]) == (404, "urn:problem-type:seefood:not-found")
    assert quiet.request("GET", "/livez", **{header: "/v1"}).status == 200


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=abc", "text/plain;version=x", ";;,", "\xe9"])
def test_metrics_answer_any_accept_header(quiet: Server, accept: str) -> None:
    answer = quiet.request("GET", "/metrics", Accept=accept)
    assert answer.status == 200
    assert b"seefood_requests_total" in answer.body


def test_a_key_file_can_start_with_a_byte_order_mark(tiny_models: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_bytes(b"\xef\xbb\xbfsecret\r\n")
    with serving(tiny_models, SEEFOOD_API_KEYS_FILE=str(keys)) as server:
        assert server.request("GET", "/v1/model").status == 401
        assert server.request("GET", "/v1/model", **{"X-API-Key": "secret"}).status == 200


def test_a_package_of_the_same_name_in_the_folder_is_not_imported(tiny_models: Path, tmp_path: Path) -> None:
    """The service can be started in any folder, with relative paths."""
    for name in ("service", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    (tmp_path / "registry").symlink_to(tiny_models)
    port = free_port()
    seefood = Path(sys.executable).with_name("seefood")
    command = [str(seefood), "serve", "--port", str(port)]
    environment = os.environ | {"SEEFOOD_MODELS": "registry", "SEEFOOD_FEEDBACK_DIR": "feedback"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        server = Server(port, process, tmp_path / "no log")
        wait_until_ready(server)
        assert server.post_photos(RED_JPEG).status == 200
        assert (tmp_path / "feedback" / "inbox.sqlite").is_file()
        assert server.stop() == 0
    finally:
        process.kill()
        process.wait()


def test_a_lack_of_memory_is_not_reported_as_damage() -> None:
    """A valid photo that needs more memory than available is too costly, not damaged."""
    code = (
        "import resource; from service.photo import PhotoTooCostly, read_photo; import io; from PIL import Image\n"
        "file = io.BytesIO(); Image.new('RGB', (6000, 6000)).save(file, 'PNG')\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000,) * 2)\n"
        "try: read_photo(file.getvalue(), 224)\n"
        "except PhotoTooCostly as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "The PNG photo takes too much memory to decode; send a smaller one.\n"


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_does_not_affect_others(tiny_models: Path, name: str) -> None:
    """Photos that need much time or memory are refused, others are classified, and memory use stays low."""
    bomb = BOMBS[name]()
    assert len(bomb) < 1_000_000
    with serving(tiny_models) as server, peak_memory(server.process.pid) as peak, ThreadPoolExecutor(3) as pool:
        bombs = [pool.submit(server.request, "POST", "/v1/predict", bomb, "image/jpeg") for _ in range(2)]
        assert server.post_photos(RED_JPEG).status == 200
        for answer in (each.result() for each in bombs):
            assert (answer.status, answer.json()["type"].rpartition(":")[2]) in {
                (413, "photo-too-costly"),
                (413, "photo-too-large"),
            }
        assert server.post_photos(*[bomb] * 3, RED_JPEG).json()["predictions"][-1]["label"] == "hotdog"
        assert server.post_photos(RED_JPEG).status == 200
        assert server.stop() == 0
    assert peak.megabytes < 600


def test_announced_bodies_take_no_memory(tiny_models: Path) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 26732202\r\n\r\n"
    with serving(tiny_models) as server, peak_memory(server.process.pid) as peak, ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            connection.sendall(head)
        assert server.post_photos(RED_JPEG).status == 200
    assert peak.megabytes < 400


@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/hotdog/infer", "/v1/feedback"])
@pytest.mark.parametrize("value", ["{}", "[]", "0", '{"a":{}}'])
def test_json_of_many_values_is_refused(tiny_models: Path, tmp_path: Path, path: str, value: str) -> None:
    body = ('{"inputs":[' + ",".join([value] * (26_000_000 // (len(value) + 1))) + "]}").encode()
    with (
        serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(tmp_path)) as server,
        peak_memory(server.process.pid) as peak,
        ThreadPoolExecutor(4) as pool,
    ):
        asked = [pool.submit(server.request, "POST", path, body, "application/json") for _ in range(4)]
        statuses = {each.result().status for each in asked}
        assert server.request("GET", "/livez").status == 200
    assert statuses <= {413, 429}
    assert 413 in statuses
    assert peak.megabytes < 600


def test_more_connections_than_open_files_do_not_end_the_service(tiny_models: Path) -> None:
    with serving(tiny_models, "prlimit", "--nofile=512:512") as server:
        worker = server.workers()[0]
        with ExitStack() as stack:
            for _ in range(900):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            time.sleep(6)
        assert server.post_photos(RED_JPEG).status == 200
        assert server.workers() == [worker]


def test_http_1_0_clients_that_never_close_do_not_block_others(quiet: Server) -> None:
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", quiet.port), timeout=20)) for _ in range(100)
        ]
        for connection in connections:
            connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        for connection in connections:
            assert connection.recv(12) == b"HTTP/1.0 200"
        for _ in range(5):
            assert quiet.post_photos(RED_JPEG).status == 200


@pytest.mark.alone  # other processes also write into shared memory
def test_a_restart_leaves_no_files(tiny_models: Path) -> None:
    def files() -> set[Path]:
        """List the files in shared memory and in the temporary folder of the service."""
        folders = Path("/dev/shm"), Path(scratch)  # noqa: S108
        return {
            path for folder in folders for path in folder.rglob("*") if path.is_file() and "sem.loky" not in path.name
        }

    with tempfile.TemporaryDirectory() as scratch, serving(tiny_models, TMPDIR=scratch) as server:
        before = files()
        for _ in range(3):
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            until(lambda: server.workers() not in ([worker], []))  # noqa: B023 - called at once
            wait_until_ready(server)
        assert files() - before == set()
