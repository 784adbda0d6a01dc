"""The model for browsers: its description, its file and ONNX Runtime's, with their addresses, hashes and headers."""

import gzip
import hashlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from service import browser_model
from service.app import create_app
from service.model import Model
from service.settings import Settings
from tests.fixtures.tiny_model import METADATA, write_tiny_model

WASM = b"\0asm" * 100


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the files of `make web` by small ones."""
    folder = tmp_path / "ort"
    folder.mkdir()
    for name, content in ((browser_model.WASM, WASM), ("ort.wasm.bundle.min.mjs", b"export {};")):
        (folder / name).write_bytes(content)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    (folder / f"{browser_model.WASM}.br").write_bytes(b"as brotli")
    monkeypatch.setattr(browser_model, "RUNTIME", folder)
    browser_model.read_browser_model.cache_clear()
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry with the versions tiny (current) and small (phone)."""
    folder = tmp_path / "registry"
    for version, pointer in (("tiny", "current"), ("small", "phone")):
        (folder / version).mkdir(parents=True)
        write_tiny_model(folder / version / "model.int8.onnx", METADATA.to_properties() | {"version": version})
        (folder / pointer).write_text(version)
    return folder


def _client(models: Path, **settings: Any) -> FlaskClient:
    return create_app(Settings(models=models, **settings)).test_client()


def _refused(client: FlaskClient, address: str = "/web/model.json") -> str:
    answer = client.get(address)
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert answer.get_json()["type"] == "urn:problem-type:seefood:no-browser-model"
    return str(answer.get_json()["detail"])


def test_the_phone_model_is_described(models: Path) -> None:
    described = _client(models).get("/web/model.json").get_json()
    content = (models / "small" / "model.int8.onnx").read_bytes()
    assert described == {
        "name": "hotdog",
        "version": "small",
        "positive_label": "hotdog",
        "negative_label": "not_hotdog",
        "threshold": 0.5,
        "uncertain_low": 0.25,
        "uncertain_high": 0.75,
        "familiarity_level": -128.0,
        "size": 64,
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": f"models/{hashlib.sha256(content).hexdigest()}.onnx",
        "bytes": len(content),
        "wasm": {"url": f"ort/{browser_model.WASM}?v={hashlib.sha256(WASM).hexdigest()[:16]}", "bytes": len(WASM)},
    }


@pytest.mark.parametrize("encoding", ["gzip", "identity", "", "gzip;q=0", "br, gzip"])
def test_the_file_is_given_whole_and_may_be_kept_for_ever(models: Path, encoding: str) -> None:
    client = _client(models)
    described = client.get("/web/model.json").get_json()
    with client.get(f"/web/{described['url']}", headers={"Accept-Encoding": encoding}) as answer:
        compressed = encoding in ("gzip", "br, gzip")
        assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
        content = gzip.decompress(answer.data) if compressed else answer.data
        assert hashlib.sha256(content).hexdigest() == described["sha256"]
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Accept-Encoding" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("encoding", "given"), [("br, gzip", "br"), ("gzip", "gzip"), ("", None), ("zstd", None), ("br;q=0, gzip", "gzip")]
)
def test_the_runtime_is_given_compressed(models: Path, encoding: str, given: str | None) -> None:
    address = "/web/" + _client(models).get("/web/model.json").get_json()["wasm"]["url"]
    with _client(models).get(address, headers={"Accept-Encoding": encoding}) as answer:
        assert answer.headers.get("Content-Encoding") == given
        assert answer.content_type == "application/wasm"
        if given == "br":
            assert answer.data == b"as brotli"
        else:
            assert (gzip.decompress(answer.data) if given else answer.data) == WASM
        assert "immutable" in answer.headers["Cache-Control"]


def test_a_script_without_a_hash_is_checked_each_time(models: Path) -> None:
    with _client(models).get("/web/ort/ort.wasm.bundle.min.mjs", headers={"Accept-Encoding": "br, gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip", "there is no .br file of it"
        assert answer.content_type == "text/javascript; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-cache"


def test_another_phone_model_is_offered_without_a_restart(models: Path) -> None:
    client = _client(models)
    before = client.get("/web/model.json").get_json()
    (models / "phone").write_text("tiny")
    after = client.get("/web/model.json").get_json()
    assert (before["version"], after["version"]) == ("small", "tiny")
    assert "is not offered any more" in _refused(client, f"/web/{before['url']}")


def test_without_a_phone_model_the_served_one_is_offered(models: Path) -> None:
    (models / "phone").unlink()
    assert _client(models).get("/web/model.json").get_json()["version"] == "tiny"


def test_a_fixed_version_or_file_is_offered_itself(models: Path, tmp_path: Path) -> None:
    assert _client(models, model="tiny").get("/web/model.json").get_json()["version"] == "tiny"
    other = write_tiny_model(tmp_path / "other.onnx", METADATA.to_properties() | {"version": "other"})
    assert _client(models, model=str(other)).get("/web/model.json").get_json()["version"] == "other"


@pytest.mark.parametrize("name", ["nothing.wasm", "..", "%2e%2e%2f%2e%2e%2fapp.py", "../../app.py", "x" * 5000])
def test_only_the_files_of_the_runtime_are_given(models: Path, name: str) -> None:
    assert _client(models).get(f"/web/ort/{name}").status_code in (404, 400)


@pytest.mark.parametrize("digest", ["0" * 64, "x", "..", "%00"])
def test_an_unknown_hash_is_refused(models: Path, digest: str) -> None:
    _refused(_client(models), f"/web/models/{digest}.onnx")


def test_nothing_is_offered_without_the_runtime(models: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(runtime)
    client = _client(models)
    monkeypatch.setattr(browser_model, "Model", None)  # no model is opened for nothing
    assert "run `make web`" in _refused(client)


def test_many_first_visitors_open_the_file_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_slowly(path: Path) -> Model:
        opened.append(path)
        time.sleep(0.2)
        return Model(path)

    monkeypatch.setattr(browser_model, "Model", open_slowly)
    app = create_app(Settings(models=models))
    with ThreadPoolExecutor(8) as pool:
        visits = [pool.submit(lambda: app.test_client().get("/web/model.json").status_code) for _ in range(8)]
    assert {visit.result() for visit in visits} == {200}
    assert len(opened) == 1


def test_nothing_is_offered_where_keys_are_required(models: Path) -> None:
    for address in ("/web/model.json", "/web/inside.onnx"):
        assert "requires API keys" in _refused(_client(models, api_keys="correct-horse"), address)


def test_a_phone_model_that_is_missing_or_damaged_is_one_sentence(models: Path) -> None:
    client = _client(models)
    (models / "small" / "model.int8.onnx").write_bytes(b"not ONNX")
    assert _refused(client).count("\n") == 0
    (models / "small" / "model.int8.onnx").unlink()
    assert "There is no model file" in _refused(client)
    assert client.get("/readyz").status_code == 200


def test_a_phone_model_with_other_labels_is_not_offered(models: Path) -> None:
    path = models / "small" / "model.int8.onnx"
    write_tiny_model(path, METADATA.to_properties() | {"positive_label": "pizza"})
    assert "has other labels" in _refused(_client(models))


def test_only_the_worker_may_compile_webassembly(models: Path) -> None:
    client = _client(models)
    for address in ("/", "/web/app.js", "/sw.js", "/web/worker.js", "/docs"):
        with client.get(address) as answer:
            allowed = "'wasm-unsafe-eval'" in answer.headers["Content-Security-Policy"]
            assert allowed == (address == "/web/worker.js")
            assert "'unsafe-eval'" not in answer.headers["Content-Security-Policy"]


def test_the_description_is_json_that_the_static_pages_can_hold(models: Path) -> None:
    path = models / "tiny" / "model.int8.onnx"
    offered = browser_model.read_browser_model(path, path.stat().st_mtime_ns)
    assert json.loads(json.dumps(offered.description)) == offered.description
