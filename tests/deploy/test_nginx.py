"""The front door: nginx with the files of deploy/nginx, in front of a running service."""

import json
import os
import re
import select
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from service.browser_model import RUNTIME, WASM
from service.registry import INSIDE
from service.settings import Settings
from tests.conftest import ROOT
from tests.fixtures.drawing import draw, encode
from tests.fixtures.front import PATH, START, Front, command, front_door
from tests.fixtures.load import asking, until
from tests.fixtures.server import Server, free_port, serving
from tests.fixtures.tiny_model import write_tiny_registry

pytestmark = pytest.mark.slow

PHOTO = encode(draw("hotdog", 1, (320, 240)))
LARGE = "/docs/swagger-ui-bundle.js"
LIMIT = Settings().max_bytes * 4 // 3 + 65536
HEAD = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n"


@pytest.fixture(scope="module")
def service(tiny_models: Path) -> Iterator[Server]:
    """Run the service behind nginx."""
    command()
    with serving(tiny_models) as server:
        yield server


@pytest.fixture
def front(service: Server, tmp_path: Path) -> Iterator[Front]:
    """Run nginx with the default settings."""
    with front_door(service.port, tmp_path / "front") as running:
        yield running


def _connect(front: Front, address: str = "127.0.0.1") -> socket.socket:
    """Connect from one of this machine's loopback addresses."""
    return socket.create_connection(("127.0.0.1", front.port), timeout=40, source_address=(address, 0))


def _first_of(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body of the next response, which can be 100 Continue."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        lines = iter(lambda: stream.readline().decode().strip(), "")
        header = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return status, header, stream.read(int(header.get("content-length", 0)))


def _check_problem(connection: socket.socket, status: int, slug: str) -> dict[str, str]:
    """Check that the next response is a problem, and return its headers."""
    seen, header, body = _first_of(connection)
    assert (seen, header["content-type"]) == (status, "application/problem+json")
    problem = json.loads(body)
    assert problem["type"] == f"urn:problem-type:seefood:{slug}"
    assert (problem["status"], problem["request_id"]) == (status, header["x-request-id"])
    assert problem["title"]
    assert problem["detail"]
    return header


@pytest.mark.skipif(not (RUNTIME / WASM).is_file(), reason="no ONNX Runtime for browsers; run make web")
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity"])
def test_the_model_for_browsers_is_kept_at_the_front_door(front: Front, service: Server, encoding: str) -> None:
    described = front.request("GET", "/web/model.json").json()
    for address in (described["url"], described["wasm"]["url"]):
        path = f"/web/{address}"
        before = service.log().count(f'"path": "{path.partition("?")[0]}"')
        answers = [front.request("GET", path, **{"Accept-Encoding": encoding}) for _ in range(5)]
        direct = service.request("GET", path, **{"Accept-Encoding": encoding})
        assert {(answer.status, answer.body) for answer in answers} == {(200, direct.body)}
        for name in ("content-encoding", "content-security-policy", "cache-control", "vary"):
            assert {answer.headers.get(name) for answer in answers} == {direct.headers.get(name)}
        assert service.log().count(f'"path": "{path.partition("?")[0]}"') - before == 2, "one, and the direct one"


def test_a_photo_is_classified_and_each_request_is_logged(front: Front, service: Server) -> None:
    answer = front.request("POST", "/v1/predict", PHOTO, "image/jpeg", **{"X-Request-ID": "of-the-client"})
    assert answer.status == 200
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "of-the-client"
    assert answer.headers["server"] == "nginx"
    assert "content-encoding" not in answer.headers
    named = front.request("GET", "/v1/model", **{"X-Request-ID": 'not "sane"'}).headers["x-request-id"]
    until(lambda: any(line["request_id"] == named for line in front.lines()))
    (line,) = [line for line in front.lines() if line["request_id"] == "of-the-client"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/predict", 200)
    assert (line["service_status"], line["remote"]) == ("200", "127.0.0.1")
    assert line["bytes_in"] > len(PHOTO)
    assert f'"request_id": "{named}"' in service.log(), "the service has the same identifier"


@pytest.mark.parametrize("path", ["/web/models/0123.onnx", f"/web/{INSIDE}"])
def test_an_answer_from_the_cache_has_the_identifier_of_its_own_request(path: str, tmp_path: Path) -> None:
    """A fake service gives files that can be cached."""
    asked: list[str] = []

    class Giving(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("X-Request-ID", self.headers["X-Request-ID"])
            self.send_header("Cache-Control", "public, max-age=60, immutable")
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Giving) as giving:
        threading.Thread(target=giving.serve_forever).start()
        try:
            with front_door(giving.server_address[1], tmp_path) as front:
                for name in ("first", "second"):
                    assert front.request("GET", path, **{"X-Request-ID": name}).headers["x-request-id"] == name
        finally:
            giving.shutdown()
    assert asked.count(path) == 1, "the second answer is from the cache"


def test_the_model_of_the_page_inside_is_kept_at_the_front_door(tmp_path: Path) -> None:
    """So slow downloads do not fill the disk. A changed file is given within seconds."""
    command()
    models = write_tiny_registry(tmp_path / "models")
    (models / "tiny" / INSIDE).write_bytes(b"1" * 3_000_000)
    with serving(models) as server, front_door(server.port, tmp_path / "front") as front:

        def ask() -> tuple[int, bytes]:
            answer = front.request("GET", f"/web/{INSIDE}?{time.monotonic()}")
            return answer.status, answer.body[:1]

        def given() -> list[int]:
            lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
            return [line["status"] for line in lines if line.get("path") == f"/web/{INSIDE}"]

        assert [ask() for _ in range(5)] == [(200, b"1")] * 5
        until(lambda: ask() == (200, b"1") and len(given()) > 1)  # nginx asks again after two to three seconds
        assert (given()[0], set(given()[1:])) == (200, {304}), "the service gave the file once"
        (models / "tiny" / INSIDE).write_bytes(b"2" * 3_000_001)
        until(lambda: ask() == (200, b"2"), 10)


def test_a_restart_empties_the_cache(service: Server, tmp_path: Path) -> None:
    """The service may require API keys by then, and does not give its model to browsers any more."""
    kept = tmp_path / "run" / "cache" / "0123"
    kept.parent.mkdir(parents=True)
    kept.write_text("the model")
    with front_door(service.port, tmp_path):
        assert not kept.exists()


def test_the_health_check_does_not_depend_on_the_service(tmp_path: Path) -> None:
    """The service answers once and then hangs. A front door that is stopped then loses the uploads in flight."""
    if shutil.which("curl") is None:
        pytest.skip("no curl is installed")
    dockerfile = (START.parent / "Dockerfile").read_text()
    (check,) = re.findall(r"^ +CMD (curl .*)$", dockerfile, re.MULTILINE)
    with socket.create_server(("127.0.0.1", 0)) as hanging:

        def answer_once() -> None:
            with hanging.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        threading.Thread(target=answer_once).start()
        with front_door(hanging.getsockname()[1], tmp_path) as front:
            environment = os.environ | {"SEEFOOD_FRONT_PORT": str(front.port)}
            assert subprocess.run(["sh", "-c", check], env=environment, check=False).returncode == 0  # noqa: S607
        assert subprocess.run(["sh", "-c", check], env=environment, check=False).returncode != 0  # noqa: S607


def test_pages_are_compressed(front: Front) -> None:
    answer = front.request("GET", LARGE, **{"Accept-Encoding": "gzip"})
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    assert len(answer.body) < len(front.request("GET", LARGE).body) / 2


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6Detrics", "/v1/../metrics", "/metrics?x=1"])
def test_metrics_are_not_public(front: Front, path: str) -> None:
    answer = front.request("GET", path)
    assert answer.status == 404
    assert answer.json()["type"] == "urn:problem-type:seefood:not-found"


@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n"])
def test_a_too_large_body_is_refused_unread(front: Front, more: str) -> None:
    with _connect(front) as connection:
        connection.sendall((HEAD.format("/v1/predict", LIMIT + 1) + more + "\r\n").encode())
        _check_problem(connection, 413, "request-entity-too-large")


def test_an_acceptable_body_gets_100_continue(front: Front) -> None:
    with _connect(front) as connection:
        connection.sendall((HEAD.format("/v1/predict", LIMIT) + "Expect: 100-continue\r\n\r\n").encode())
        assert _first_of(connection)[0] == 100


def test_a_too_large_chunked_body_is_refused(service: Server, tmp_path: Path) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: image/jpeg\r\n\r\n"
    with front_door(service.port, tmp_path, SEEFOOD_MAX_BYTES="3000") as front, _connect(front) as connection:
        connection.sendall(head + b"11170\r\n" + b"x" * 0x11170 + b"\r\n0\r\n\r\n")
        _check_problem(connection, 413, "request-entity-too-large")


def test_v2_problems_are_application_json(front: Front) -> None:
    with _connect(front) as connection:
        connection.sendall((HEAD.format("/v2/models/hotdog/infer", LIMIT + 1) + "\r\n").encode())
        status, header, body = _first_of(connection)
    assert (status, header["content-type"]) == (413, "application/json")
    problem = json.loads(body)
    assert problem["error"] == problem["detail"]


def test_slow_clients_are_closed_while_others_are_served(front: Front) -> None:
    with _connect(front) as slow_header, _connect(front) as slow_body, _connect(front) as dripping_header:
        slow_header.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n")
        slow_body.sendall(HEAD.format("/v1/predict", 1000).encode() + b"\r\nsome of it")
        slow = {slow_header, slow_body, dripping_header}
        end = time.monotonic() + 30
        while slow and time.monotonic() < end:
            assert front.request("POST", "/v1/predict", PHOTO, "image/jpeg").status == 200
            for connection in list(slow):
                try:
                    if connection is dripping_header:
                        connection.send(b"G")
                    connection.settimeout(0.5)
                    if connection.recv(1000) == b"":
                        slow.remove(connection)
                except TimeoutError:
                    pass
                except OSError:
                    slow.remove(connection)
        assert not slow, "all are closed"
    until(lambda: [line["status"] for line in front.lines()].count(408) >= 2)


def test_clients_that_never_read_are_closed_while_others_are_served(front: Front) -> None:
    with ExitStack() as stack:
        silent = []
        for i in range(300):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.bind((f"127.0.0.{2 + i // 60}", 0))
            connection.connect(("127.0.0.1", front.port))
            silent.append(stack.enter_context(connection))
            # More than the kernel's buffers hold, so that nginx has to wait.
            connection.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 4)
        assert front.request("GET", "/livez").status == 200
        assert front.request("POST", "/v1/predict", PHOTO, "image/jpeg").status == 200
        until(lambda: all(_is_reset(one) for one in silent), 60)


def _is_reset(connection: socket.socket) -> bool:
    """Return whether the server has closed the connection, without reading from it."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def test_idle_connections_do_not_block_others(front: Front) -> None:
    with ExitStack() as stack:
        for i in range(2200):
            stack.enter_context(_connect(front, f"127.0.0.{2 + i % 50}"))
        assert front.request("GET", "/livez").status == 200
        assert front.request("POST", "/v1/predict", PHOTO, "image/jpeg").status == 200


def _hold_open(front: Front, stack: ExitStack, count: int) -> None:
    """Send the start of `count` bodies from one address, and never the rest."""
    for _ in range(count):
        connection = stack.enter_context(_connect(front, "127.0.0.2"))
        connection.sendall(HEAD.format("/v1/predict", 1000).encode() + b"\r\nsome")
    time.sleep(0.5)


def test_requests_of_one_address_are_limited(service: Server, tmp_path: Path) -> None:
    with front_door(service.port, tmp_path, SEEFOOD_FRONT_PER_ADDRESS="3") as front, ExitStack() as stack:
        _hold_open(front, stack, 3)
        with _connect(front, "127.0.0.2") as connection:
            connection.sendall((HEAD.format("/v1/predict", len(PHOTO)) + "Expect: 100-continue\r\n\r\n").encode())
            header = _check_problem(connection, 429, "too-many-requests")
        assert header["retry-after"] == "1"
        assert front.request("POST", "/v1/predict", PHOTO, "image/jpeg").status == 200, "from another address"


def test_addresses_of_one_ipv6_network_count_as_one(
    service: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback has no such network, so nginx takes the address from a header."""
    folder = shutil.copytree(START.parent, tmp_path / "nginx")
    template = folder / "templates" / "nginx.conf.template"
    trusted = "http {\n    set_real_ip_from 127.0.0.0/8;\n    real_ip_header X-Address;"
    template.write_text(template.read_text().replace("http {", trusted))
    monkeypatch.setattr("tests.fixtures.front.START", folder / "start")
    with front_door(service.port, tmp_path / "front", SEEFOOD_FRONT_PER_ADDRESS="3") as front, ExitStack() as stack:

        def post(address: str, body: bytes) -> socket.socket:
            connection = stack.enter_context(_connect(front))
            head = HEAD.format("/v1/predict", len(PHOTO)) + f"X-Address: {address}\r\n\r\n"
            connection.sendall(head.encode() + body)
            return connection

        for last in (":a", "b:c:d:e", ":a0a:0:1"):  # the byte 0x0a is the end of a line
            post(f"2001:db8:0:a:{last}", b"some")
        time.sleep(0.5)
        _check_problem(post("2001:db8:0:a::f", PHOTO), 429, "too-many-requests")
        assert _first_of(post("2001:db8:0:b::a", PHOTO))[0] == 200, "another network"
        assert _first_of(post("192.0.2.1", PHOTO))[0] == 200


@pytest.mark.skipif(not Path("/proc/net/if_inet6").is_file(), reason="this machine has no IPv6")
def test_clients_of_ipv6_have_their_own_address(service: Server, tmp_path: Path) -> None:
    with front_door(service.port, tmp_path) as front:
        with socket.create_connection(("::1", front.port), timeout=20) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-ID: six\r\n\r\n")
            assert _first_of(connection)[0] == 200
        until(lambda: any(line["request_id"] == "six" for line in front.lines()))
        assert {line["remote"] for line in front.lines() if line["request_id"] == "six"} == {"::1"}


def test_it_starts_without_ipv6(tmp_path: Path) -> None:
    """A new network namespace has no address."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0:  # noqa: S607
        pytest.skip("this user can't make a network namespace")
    environment = os.environ | {"SEEFOOD_FRONT_DIR": str(tmp_path), "PATH": PATH}
    command_line = ["unshare", "--net", *command(), "-t"]
    tested = subprocess.run(command_line, env=environment, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "#listen [::]:" in (tmp_path / "nginx.conf").read_text()


def test_bodies_that_are_being_sent_do_not_count_as_in_flight(service: Server, tmp_path: Path) -> None:
    with front_door(service.port, tmp_path, SEEFOOD_FRONT_POSTS="2") as front, ExitStack() as stack:
        _hold_open(front, stack, 20)
        assert front.request("POST", "/v1/predict", PHOTO, "image/jpeg").status == 200


def test_overload_is_refused_by_nginx(service: Server, tmp_path: Path) -> None:
    photo = encode(draw("hotdog", 2, (2400, 1800)))
    before = service.log().count('"status": 429')
    with front_door(service.port, tmp_path, SEEFOOD_FRONT_POSTS="4") as front:
        with asking(front.port, photo, clients=24) as load:
            time.sleep(5)
            for _ in range(200):
                answer = front.request("POST", "/v1/predict", photo, "image/jpeg")
                if answer.status == 429:
                    break
        assert (load.failures, set(load.statuses)) == ([], {200, 429})
        assert answer.status == 429
        assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("1", "application/problem+json")
        assert answer.json()["type"] == "urn:problem-type:seefood:too-many-requests"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert {line["status"] for line in front.lines()} == {200, 429}
    assert service.log().count('"status": 429') == before, "no refused request reached the service"


@pytest.mark.alone
def test_no_request_is_lost_when_the_process_is_killed(tiny_models: Path, tmp_path: Path) -> None:
    command()
    with serving(tiny_models) as server, front_door(server.port, tmp_path) as front:
        with asking(front.port, PHOTO, clients=4) as load:
            for _ in range(2):
                until(lambda: len(load.statuses) > 20)
                (process,) = server.workers()
                os.kill(process, signal.SIGKILL)
                until(lambda: server.workers() not in ([], [process]))  # noqa: B023 - called at once
                answered = len(load.statuses)
                until(lambda: len(load.statuses) > answered + 20, 60)  # noqa: B023
        assert set(load.statuses) == {200}
        assert len(load.failures) <= 2, "a response whose headers were sent is not repeated; this is rare"
        assert all(isinstance(failure, IncompleteRead) for failure in load.failures)
        assert any(line["service_status"] == "502, 200" for line in front.lines()), "nginx repeated some requests"


def test_a_killed_process_of_nginx_loses_only_its_own_requests(tiny_models: Path, tmp_path: Path) -> None:
    """The master of nginx starts another process; the requests in flight in the killed process are not repeated."""
    kills, clients = 3, 4
    with serving(tiny_models) as server, front_door(server.port, tmp_path) as front:
        with asking(front.port, PHOTO, clients=clients) as load:
            for _ in range(kills):
                answered = len(load.statuses)
                until(lambda: len(load.statuses) > answered + 20, 60)  # noqa: B023 - called at once
                before = front.workers()
                os.kill(before[0], signal.SIGKILL)
                until(lambda: before[0] not in front.workers() and len(front.workers()) == len(before))  # noqa: B023
            answered = len(load.statuses)
            until(lambda: len(load.statuses) > answered + 20, 60)
        assert set(load.statuses) == {200}
        assert len(load.failures) <= kills * clients, str(load)


def test_feedback_is_not_sent_twice(tmp_path: Path) -> None:
    """A fake service reads a request and closes the connection, as a service that crashes does."""
    asked: list[bytes] = []

    class Dying(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(65536).split()[1])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dying) as dying:
        threading.Thread(target=dying.serve_forever).start()
        try:
            with front_door(dying.server_address[1], tmp_path / "other", ready=502) as other:
                asked.clear()
                for path in ("/v1/feedback", "/v1/predict", "/v2/models/hotdog/infer"):
                    assert other.request("POST", path, PHOTO, "image/jpeg").status == 502
        finally:
            dying.shutdown()
    assert asked == [b"/v1/feedback", b"/v1/predict", b"/v1/predict", *[b"/v2/models/hotdog/infer"] * 2]


def test_without_the_service_the_status_is_502(tmp_path: Path) -> None:
    with front_door(free_port(), tmp_path, ready=502) as front:
        answer = front.request("POST", "/v1/predict", PHOTO, "image/jpeg")
        assert (answer.status, answer.json()["type"]) == (502, "urn:problem-type:seefood:bad-gateway")


def test_tls_with_a_mounted_certificate(service: Server, tmp_path: Path) -> None:
    certificate, key, port = tmp_path / "certificate.pem", tmp_path / "key.pem", free_port()
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    with front_door(
        service.port,
        tmp_path / "front",
        SEEFOOD_TLS_CERTIFICATE=str(certificate),
        SEEFOOD_TLS_KEY=str(key),
        SEEFOOD_FRONT_TLS_PORT=str(port),
    ):
        trusted = ssl.create_default_context(cafile=str(certificate))
        with urlopen(f"https://localhost:{port}/readyz", context=trusted, timeout=20) as answer:
            assert json.load(answer)["status"] == "ready"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SEEFOOD_MAX_BYTES": "20 MB"}, "SEEFOOD_MAX_BYTES is '20 MB'; it must be a whole number, at least 1."),
        ({"SEEFOOD_QUEUE": "0"}, "SEEFOOD_QUEUE is '0'; it must be a whole number, at least 1."),
        ({"SEEFOOD_FRONT_POSTS": "0"}, "SEEFOOD_FRONT_POSTS is '0'; it must be a whole number, at least 1."),
        ({"SEEFOOD_TLS_KEY": str(ROOT / "README.md")}, "TLS needs both "),
    ],
)
def test_an_invalid_setting_is_one_sentence(settings: dict[str, str], sentence: str, tmp_path: Path) -> None:
    environment = os.environ | {"SEEFOOD_FRONT_DIR": str(tmp_path), "PATH": PATH} | settings
    ended = subprocess.run(command(), env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"front door: {sentence}")
    assert len(ended.stderr.splitlines()) == 1


def test_every_variable_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    defaults = dict(re.findall(r"^: \"\$\{(SEEFOOD_\w+):=(.*)\}\"$", START.read_text(), re.MULTILINE))
    assert len(defaults) == 10
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    for name, default in defaults.items():
        shown = "SEEFOOD_QUEUE" if "QUEUE" in default else default
        assert any(f"`{name}`" in row and f"`{shown}`" in row for row in rows), name
    assert defaults["SEEFOOD_MAX_BYTES"] == str(Settings().max_bytes)
    assert defaults["SEEFOOD_FRONT_POSTS"] == f"${{SEEFOOD_QUEUE:-{Settings().queue}}}"
    assert f'proxy-body-size: "{LIMIT}"' in (ROOT / "docs" / "kubernetes.md").read_text()


def test_problems_are_documented_and_match_the_service() -> None:
    said = (ROOT / "deploy" / "nginx" / "problems.conf").read_text()
    slugs = re.findall(r"^    (?:\d+|default) ([a-z-]+);$", said, re.MULTILINE)
    assert len(slugs) == 9
    page = (ROOT / "docs" / "http-api.md").read_text()
    assert all(f"`{slug}`" in page for slug in slugs)
    source = (ROOT / "service" / "problems.py").read_text()
    # Not 413: nginx knows only the size of the body, the service also the fields of a form.
    assert any(sentence in source for sentence in re.findall(r'^    429 "(.* .*\.)";$', said, re.MULTILINE))


def test_compose_publishes_only_the_front_door() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    built = yaml.safe_load((ROOT / "docker-compose.override.yml").read_text())["services"]["nginx"]["build"]
    base = re.search(r"^ARG NGINX_IMAGE=(.*)$", (ROOT / built["context"] / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert built["args"]["NGINX_IMAGE"] == f"${{NGINX_IMAGE:-{base[1]}}}"


def test_the_service_sees_the_address_of_the_client(tiny_models: Path, tmp_path: Path) -> None:
    """SEEFOOD_PROXIES is 1. The service ignores the address that a client claims to have."""
    command()
    with serving(tiny_models, SEEFOOD_PROXIES="1") as server, front_door(server.port, tmp_path / "front") as front:
        for address in ("127.0.0.2", "127.0.0.3"):
            with _connect(front, address) as connection:
                connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
                assert _first_of(connection)[0] == 200
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        seen = [line["remote"] for line in lines if line.get("path") == "/v1/model"]
    assert seen == ["127.0.0.2", "127.0.0.3"]
