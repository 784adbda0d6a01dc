"""Routes for browsers: the page's model, the model of /inside, and ONNX Runtime."""

import gzip
import hashlib
import threading
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from flask import Blueprint, Response, current_app, request, send_file

from service.errors import SeeFoodError
from service.model import Model
from service.model_manager import served_model
from service.problems import Problem
from service.registry import CURRENT, INSIDE, PHONE, POINTERS, find_model
from service.settings import Settings

browser_model = Blueprint("browser_model", __name__, url_prefix="/web")

RUNTIME = Path(__file__).parent / "web" / "ort"  # `make web` writes it
WASM = "ort-wasm-simd-threaded.wasm"
_YEAR = 365 * 24 * 3600
_reading = threading.Lock()
_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
# What a verdict needs, by its name in the model's metadata.
_METADATA = (
    "name",
    "version",
    "positive_label",
    "negative_label",
    "threshold",
    "uncertain_low",
    "uncertain_high",
    "familiarity_level",
)
_ENCODINGS = {"br": ".br", "gzip": ".gz"}  # the smallest first


class BrowserModel(NamedTuple):
    """A model file for browsers.

    Attributes:
        path: the ONNX file.
        compressed: its bytes, compressed by gzip.
        description: what worker.js needs to use the file; addresses are relative to /web/model.json.
    """

    path: Path
    compressed: bytes
    description: dict[str, Any]


@browser_model.get("/model.json")
def describe() -> dict[str, Any]:
    """Return the description of the model for browsers."""
    return _offered().description


@browser_model.get("/models/<digest>.onnx")
def model_file(digest: str) -> Response:
    """Return the model file whose SHA-256 is in the address."""
    offered = _offered()
    if offered.description["sha256"] != digest:
        raise _not_offered(f"The model {digest[:12]} is not offered any more; load web/model.json again.")
    if not request.accept_encodings.quality("gzip"):
        response = send_file(offered.path.resolve(), "application/octet-stream")
    else:
        response = Response(offered.compressed, content_type="application/octet-stream")
        response.content_encoding = "gzip"
    response.vary.add("Accept-Encoding")
    return _immutable(response)


@browser_model.get("/inside.onnx")
def inside_file() -> Response:
    """Return the served version with its stages as further outputs, for the page /inside."""
    _require_public()
    model = served_model().model
    path = model.path.with_name(INSIDE).resolve()
    if not path.is_file():
        version = model.metadata.version
        raise _not_offered(f"The version {version} has no {INSIDE}; `seefood inspect {version} --onnx` writes it.")
    return send_file(path, "application/octet-stream")


@browser_model.get("/ort/<name>")
def runtime_file(name: str) -> Response:
    """Return a file of ONNX Runtime for browsers, compressed if the client accepts that."""
    path = RUNTIME / name
    if name not in [each.name for each in RUNTIME.glob("o*")]:
        raise _not_offered(f"There is no file {name[:40]} of ONNX Runtime here; `make web` installs it.")
    files = {encoding: path.with_name(name + suffix) for encoding, suffix in _ENCODINGS.items()}
    encoding = request.accept_encodings.best_match([each for each, file in files.items() if file.is_file()])
    response = send_file(files.get(encoding or "", path), _TYPES.get(path.suffix))
    if encoding:
        response.content_encoding = encoding
    response.vary.add("Accept-Encoding")
    return _immutable(response) if "v" in request.args else response


def _immutable(response: Response) -> Response:
    response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
    return response


def _offered() -> BrowserModel:
    settings = _require_public()
    served = served_model().model
    try:
        follows = (settings.model or CURRENT) in POINTERS and (settings.models / PHONE).is_file()
        path = find_phone_model(settings.models) if follows else served.path
        with _reading:  # one request reads a new file, and the others wait for it
            offered = read_browser_model(path, path.stat().st_mtime_ns)
    except (SeeFoodError, OSError) as error:
        raise _not_offered(f"No model can be offered: {error}") from error
    if (offered.description["positive_label"], offered.description["negative_label"]) != served.metadata.labels:
        raise _not_offered("The phone model has other labels than the served model, so it is not offered.")
    return offered


def _require_public() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    if settings.api_keys or settings.api_keys_file:
        raise _not_offered("This service requires API keys, so it does not give its model to browsers.")
    return settings


def find_phone_model(models: Path) -> Path:
    """Return the file of a registry's phone model; raises SeeFoodError if it is missing.

    It is the float32 file if there is one. In WebAssembly float32 is as fast as int8, and its answers do not depend on
    the CPU.
    """
    with suppress(SeeFoodError):
        return find_model(models, PHONE, "float32")
    return find_model(models, PHONE, "int8")


@lru_cache(maxsize=2)
def read_browser_model(path: Path, modified: int) -> BrowserModel:  # noqa: ARG001 - another key for another file
    """Read, compress and describe a model file; raises SeeFoodError if it is not a seefood model."""
    runtime = _describe_runtime()
    model = Model(path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    metadata = asdict(model.metadata)
    description = {name: metadata[name] for name in _METADATA} | {
        "size": model.size,
        "sha256": digest,
        "url": f"models/{digest}.onnx",
        "bytes": len(content),
        "wasm": runtime,
    }
    return BrowserModel(path, gzip.compress(content, mtime=0), description)


def _describe_runtime() -> dict[str, Any]:
    try:
        content = (RUNTIME / WASM).read_bytes()
    except FileNotFoundError as error:
        raise SeeFoodError("ONNX Runtime for browsers is not installed; run `make web`.") from error
    return {"url": f"ort/{WASM}?v={hashlib.sha256(content).hexdigest()[:16]}", "bytes": len(content)}


def _not_offered(detail: str) -> Problem:
    return Problem(404, "no-browser-model", "No model for browsers", detail)
