"""Request identifiers, response headers, CORS and API keys."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import expect

from service.errors import SeeFoodError
from service.model import Model, open_model
from service.settings import Settings
from tests.conftest import ROOT, MakeApp
from tests.fixtures.browser import open_browser
from tests.fixtures.load import until
from tests.fixtures.painting import RED
from tests.fixtures.server import free_port, serving

KEY, OTHER = "correct-horse", "battery-staple"

Make = Callable[..., FlaskClient]


@pytest.fixture(scope="module")
def model(tiny_models: Path) -> Model:
    opened = open_model(tiny_models)
    opened.warm_up()
    return opened


@pytest.fixture
def make(model: Model, make_app: MakeApp) -> Make:
    return lambda **settings: make_app(Settings(**settings), model).test_client()


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 128])
def test_a_valid_request_id_is_kept(client: FlaskClient, given: str) -> None:
    answer = client.get("/nothing", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == json.loads(answer.data)["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", 'a"b', "\u00e9"])
def test_an_invalid_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    made = {client.get("/livez", headers={"X-Request-ID": given}).headers["X-Request-ID"] for _ in range(2)}
    assert len(made) == 2
    assert all(len(one) == 32 and one.isalnum() for one in made)


@pytest.mark.parametrize("path", ["/", "/web/app.js", "/livez", "/v1/model", "/nothing", "/v1/predict"])
def test_every_response_has_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in str(policy)


def test_cors_is_off_by_default(client: FlaskClient) -> None:
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    for answer in (client.get("/v1/model", headers=headers), client.options("/v1/predict", headers=headers)):
        assert not [name for name in answer.headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118


def test_cors_allows_the_configured_origins(make: Make) -> None:
    client = make(cors_origins="https://a.example, http://localhost:3000", api_keys=KEY)
    for origin in ("https://a.example", "http://localhost:3000"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = client.options("/v1/predict", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == origin
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        assert {"X-API-Key", "Authorization"} <= set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
        refused = client.post("/v1/predict", data=RED, content_type="image/png", headers={"Origin": origin})
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, origin)
    for origin in ("https://b.example", "https://a.example.b.example", "https://a.exampl", "null", ""):
        answer = client.get("/livez", headers={"Origin": origin})
        assert (answer.headers["Vary"], answer.headers.get("Access-Control-Allow-Origin")) == ("Origin", None)


def test_cors_can_allow_every_origin(make: Make) -> None:
    answer = make(cors_origins="*").get("/v1/model", headers={"Origin": "https://b.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("origins", ["https://a.example/", "a.example", "https://a.example,b", "**"])
def test_an_invalid_cors_origin_is_an_error(origins: str) -> None:
    with pytest.raises(SeeFoodError, match=r"^SEEFOOD_CORS_ORIGINS has .*, or \*\.$"):
        Settings(cors_origins=origins).origins()


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY},
        {"X-API-Key": OTHER},
        {"X-API-Key": "from-file"},
        {"X-API-Key": "two words"},
        {"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"},
    ],
)
def test_a_valid_key_is_accepted(make: Make, tmp_path: Path, header: dict[str, str]) -> None:
    (tmp_path / "keys").write_text("# ours\n\n  from-file  \r\ntwo words\n")
    client = make(api_keys=f"{KEY}, {OTHER}", api_keys_file=str(tmp_path / "keys"))
    assert client.get("/v1/model", headers=header).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": f"{KEY}, {OTHER}"},
        {"X-API-Key": "# ours"},
        {"X-API-Key": "\u00e9"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {OTHER[::-1]}"},
    ],
)
def test_a_request_without_a_valid_key_is_refused(make: Make, tmp_path: Path, header: dict[str, str]) -> None:
    (tmp_path / "keys").write_text(f"# ours\n{OTHER}\n")
    client = make(api_keys=KEY, api_keys_file=str(tmp_path / "keys"))
    answer = client.post("/v1/predict", data=b"no photo at all", content_type="image/png", headers=header)
    body = json.loads(answer.data)
    assert (answer.status_code, body["type"]) == (401, "urn:problem-type:seefood:unauthorized")
    assert (answer.headers["WWW-Authenticate"], answer.content_type) == ("Bearer", "application/problem+json")
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert all(secret not in answer.data.decode() for secret in (KEY, OTHER))


def test_a_key_can_have_non_ascii_characters(make: Make) -> None:
    for key in ("schl\u00fcssel", "senh\u00e0"):  # in latin-1, the last byte of the second one is a space
        client = make(api_keys=key)
        sent = key.encode().decode("latin-1")  # how WSGI passes a UTF-8 header
        assert client.get("/v1/model", headers={"X-API-Key": sent}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/model", "/v1/predict", "/v1", "/v1/nothing", "/v2", "/v2/models/hotdog/infer"])
def test_v1_and_v2_require_a_key(make: Make, path: str) -> None:
    assert make(api_keys=KEY).get(path).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/web/app.js", "/livez", "/readyz", "/metrics", "/v2/health/ready", "/openapi.json", "/docs", "/v10"]
)
def test_other_routes_require_no_key(make: Make, path: str) -> None:
    with make(api_keys=KEY).get(path) as answer:
        assert answer.status_code in (200, 404)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [(None, "No such file or directory"), ("", "has no key in it"), ("\n  \n# none yet\n", "has no key in it")],
)
def test_a_key_file_without_keys_is_an_error(make: Make, tmp_path: Path, keys: str | None, reason: str) -> None:
    path = tmp_path / "keys"
    if keys is not None:
        path.write_text(keys)
    with pytest.raises(SeeFoodError) as caught:
        make(api_keys=KEY, api_keys_file=str(path))
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_key_setting_without_keys_is_an_error() -> None:
    with pytest.raises(SeeFoodError, match="SEEFOOD_API_KEYS has no key in it"):
        Settings(api_keys=" , ").keys()


def test_keys_are_not_in_the_repr_of_the_settings() -> None:
    assert KEY not in repr(Settings(api_keys=KEY))


@pytest.mark.slow
def test_a_missing_key_file_is_one_sentence(tiny_models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(free_port())]
    environment = {"SEEFOOD_MODELS": str(tiny_models), "SEEFOOD_API_KEYS_FILE": str(tmp_path / "keys")}
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    sentence = f"seefood: SEEFOOD_API_KEYS_FILE: {tmp_path}/keys can't be used: No such file or directory.\n"
    assert (ended.returncode, ended.stderr) == (2, sentence)


@pytest.mark.slow
def test_a_client_without_a_key_is_refused_before_its_body(tiny_models: Path) -> None:
    with serving(tiny_models, SEEFOOD_API_KEYS=KEY) as server:
        for length in ("Content-Length: 30000000", "Transfer-Encoding: chunked"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                connection.sendall(f"POST /v1/predict HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
                assert connection.recv(12) == b"HTTP/1.1 401"
        assert server.request("POST", "/v1/predict", RED, "image/png", Authorization=f"Bearer {KEY}").status == 200
        assert server.request("GET", "/v1/model", **{"X-API-Key": f"{KEY}-not"}).status == 401
        client = HTTPConnection("127.0.0.1", server.port, timeout=30)
        for key, status in (("none", 401), (KEY, 400), ("none", 401)):
            client.request("POST", "/v1/predict", b"\xff" * 10_000, {"X-API-Key": key, "Content-Type": "image/png"})
            with client.getresponse() as response:
                assert (response.status, response.read()[:1]) == (status, b"{"), "on one connection"
        client.close()
        assert server.stop() == 0
        assert KEY not in server.log()


@pytest.mark.slow
def test_keys_are_reloaded_on_hup(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY}\n")
    with serving(tiny_models, SEEFOOD_API_KEYS_FILE=str(tmp_path / "keys")) as server:

        def ask(key: str) -> int:
            return server.request("GET", "/v1/model", **{"X-API-Key": key}).status

        assert (ask(KEY), ask(OTHER)) == (200, 401)
        (tmp_path / "keys").write_text(f"{OTHER}\n")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: (ask(KEY), ask(OTHER)) == (401, 200))


@pytest.mark.slow
def test_the_page_shows_that_a_key_is_needed(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(RED)
    with serving(tiny_models, SEEFOOD_API_KEYS=KEY) as server, open_browser() as browser:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.set_input_files("#photo", tmp_path / "photo.png")
        expect(page.locator("#verdict")).to_have_text("A key is needed")
        expect(page.locator("#sure")).to_contain_text("API key")
        expect(page.locator("#model")).to_be_empty()
