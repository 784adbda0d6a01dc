"""Every request gets an identifier and an API key check; every response gets security and CORS headers."""

import hmac
import re
import time
import uuid
from functools import partial

from flask import Flask, Response, g, request

from service.inbox.records import Sender
from service.inbox.senders import key_id
from service.problems import Problem, problem_response
from service.settings import Settings

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_POLICY = (  # only what the pages need: blob: for the preview of a photo, data: for the icons of /docs
    "default-src 'none'; script-src 'self'{}; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Scripts that run a model with WebAssembly. A worker has the policy of its own script, so no page may use WebAssembly.
_WASM_WORKERS = ("/web/worker.js", "/web/inside/worker.js")


def register(app: Flask, settings: Settings) -> None:
    """Add the checks and the headers to the application.

    Raises:
        SeeFoodError: the API keys or the CORS origins in the settings are invalid.
    """
    app.before_request(_set_request_id)
    if keys := settings.keys():
        app.before_request(partial(_check_key, keys))
    app.after_request(partial(_add_headers, settings.origins()))


def bearer_token() -> str:
    """Return the token in the header Authorization of the current request; empty if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def matching_key(sent: list[str], keys: list[bytes]) -> bytes | None:
    """Return the first of the keys that was sent, in headers; None if none was."""
    # All pairs are compared, also after a match, so that the duration reveals nothing about the keys.
    found = [key for each in sent for key in keys if hmac.compare_digest(each.strip(" \t").encode("latin-1"), key)]
    return found[0] if found else None


def current_sender() -> Sender:
    """Return who sent the current request."""
    return Sender(g.get("key_id"), request.remote_addr or "unknown")


def _set_request_id() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _VALID_ID.fullmatch(given) else uuid.uuid4().hex


def _check_key(keys: list[bytes]) -> Response | None:
    if not _needs_key(request.path) or request.method == "OPTIONS":  # a browser sends its preflight without a key
        return None
    if key := matching_key([request.headers.get("X-API-Key", ""), bearer_token()], keys):
        g.key_id = key_id(key)
        return None
    detail = "This service requires an API key; send it as Authorization: Bearer KEY or as X-API-Key: KEY."
    response = problem_response(Problem(401, "unauthorized", "An API key is needed", detail))
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _needs_key(path: str) -> bool:
    return f"{path}/".startswith(("/v1/", "/v2/")) and not path.startswith("/v2/health/")


def _add_headers(origins: list[str], response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    response.headers["Content-Security-Policy"] = _POLICY.format(
        " 'wasm-unsafe-eval'" if request.path in _WASM_WORKERS else ""
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if origins:
        _add_cors(origins, response)
    return response


def _add_cors(origins: list[str], response: Response) -> None:
    response.vary.add("Origin")
    origin = request.headers.get("Origin", "")
    if origin not in origins and "*" not in origins:
        return
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    response.headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-ID"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-API-Key, X-Request-ID"
        response.headers["Access-Control-Max-Age"] = "600"
