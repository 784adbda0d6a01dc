"""Who may ask, and what every answer carries: API keys, request identifiers, CORS and the headers that keep it safe."""

import hmac
import re
import time
import uuid
from functools import partial

from flask import Flask, Response, g, request

from service import problems
from service.problems import Problem
from service.settings import Settings

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # What the pages need and nothing else: blob: is the preview of a photo, data: are the icons of /docs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def register(app: Flask, settings: Settings) -> None:
    """Name every request, ask for a key where keys are set, and add the headers to every answer.

    Raises:
        SeeFoodError: the keys or the origins that the settings name can't be used.
    """
    app.before_request(_identify)
    if keys := settings.keys():
        app.before_request(partial(_ask_for_key, keys))
    app.after_request(partial(_add_headers, settings.origins()))


def _identify() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _ask_for_key(keys: list[bytes]) -> Response | None:
    if not _needs_key(request.path) or request.method == "OPTIONS":  # a browser's preflight can't carry one
        return None
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    sent = [request.headers.get("X-API-Key", ""), token if scheme.lower() == "bearer" else ""]
    # All pairs are compared, and not only up to the first match, so that the time says nothing of the keys.
    if sum(hmac.compare_digest(one.strip().encode("latin-1"), key) for one in sent for key in keys):
        return None
    detail = "This service answers those with an API key; send yours as Authorization: Bearer KEY or as X-API-Key: KEY."
    response = problems.answer(Problem(401, "unauthorized", "An API key is needed", detail))
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _needs_key(path: str) -> bool:
    return f"{path}/".startswith(("/v1/", "/v2/")) and not path.startswith("/v2/health/")


def _add_headers(origins: list[str], response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
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
