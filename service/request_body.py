"""Reads request bodies with limits on size, pauses and JSON values, and receives the rest of a body after an error."""

import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.problems import Problem

BODY_TIMEOUT = 10  # seconds without a byte of the body
JSON_COPIES = 3  # a JSON body is in memory as bytes, as text and as a decoded photo
MAX_VALUES = 10_000  # in a JSON body, without those of a tensor
_DISCARD_SIZE, _READ_SIZE = 1 << 16, 1 << 20  # bytes
_OWN_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.EIO, errno.EROFS)
_json_lock = threading.Lock()


def register(app: Flask) -> None:
    """Before each response, receive the rest of the body; after it, receive no more from a client that must close.

    Otherwise gunicorn's main loop waits up to two seconds for such a client (RFC 9112, section 9.6), and accepts no
    other connection.
    """
    app.after_request(_stop_receiving)
    app.after_request(_discard_body)


def read_body() -> bytes:
    """Return the whole body; raises Problem, RequestEntityTooLarge."""
    # Large reads from the server's own stream: werkzeug's stream reads 64 KB at a time, which takes four times as long.
    stream, left = request.environ["wsgi.input"], (request.max_content_length or 0) + 1
    pieces = []
    with receiving():
        while piece := stream.read(min(left, _READ_SIZE)):
            pieces.append(piece)
            left -= len(piece)
    if not left:  # a chunked body, whose length is not known before
        raise RequestEntityTooLarge
    body = b"".join(pieces)
    if len(body) < (request.content_length or 0):
        raise _incomplete()
    return body


def read_json(body: bytes | None = None, max_values: int = MAX_VALUES) -> Any:
    """Parse a JSON body; raises Problem, also where it has more than `max_values` values.

    A parsed value takes up to a hundred times the memory of its text, so the process parses one body at a time.
    """
    body = read_body() if body is None else body
    if sum(map(body.count, (b",", b"[", b"{"))) > max_values:
        detail = (
            f"The JSON body has more than {max_values:,} values; send a photo as base64, or a tensor as binary data."
        )
        raise Problem(413, "too-many-values", "Too many values", detail)
    try:
        with _json_lock:
            return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad_json(f"The body is not valid JSON ({len(body)} bytes).") from error


def bad_json(detail: str) -> Problem:
    """Return the problem of a JSON body that can't be used."""
    return Problem(400, "bad-json", "The JSON body can't be read", detail)


@contextmanager
def receiving() -> Iterator[None]:
    """Limit the time without data, and turn the client's errors while a body is read into a Problem."""
    connection = request.environ.get("gunicorn.socket")
    if connection:
        connection.settimeout(BODY_TIMEOUT)
    try:
        yield
    except (TimeoutError, ClientDisconnected) as error:  # werkzeug raises ClientDisconnected for every OSError
        g.body_ended = True
        if isinstance(error, ClientDisconnected) and not isinstance(error.__context__, TimeoutError):
            raise _incomplete() from error
        detail = f"No part of the request body arrived for {BODY_TIMEOUT} seconds; send the request again."
        raise Problem(408, "request-timeout", "Request Timeout", detail) from error
    except ValueError as error:
        detail = "The form can't be parsed; send its boundary in Content-Type, and names of fields and files in UTF-8."
        raise Problem(400, "bad-form", "The form can't be read", detail) from error
    except (OSError, ParseException) as error:  # a connection reset, or invalid chunked encoding
        if isinstance(error, OSError) and error.errno in _OWN_ERRORS:
            raise
        g.body_ended = True
        raise _incomplete() from error
    finally:
        if connection:
            connection.settimeout(None)


def _incomplete() -> Problem:
    detail = "The request body is incomplete, or does not match the request's headers; send the request again."
    return Problem(400, "bad-body", "The body can't be read", detail)


def _discard_body(response: Response) -> Response:
    """Receive the unread rest of the body; stop after BODY_TIMEOUT seconds, which are checked every 64 KB.

    Many clients read the response only after they have sent everything, and gunicorn closes a connection that has much
    unread data. A reverse proxy must bound slow clients.
    """
    end = time.monotonic() + BODY_TIMEOUT
    if "body_ended" not in g:
        with suppress(Problem), receiving():
            while request.environ["wsgi.input"].read(_DISCARD_SIZE) and time.monotonic() < end:
                pass
    return response


def _stop_receiving(response: Response) -> Response:
    connection: socket.socket | None = request.environ.get("gunicorn.socket")
    options = request.headers.get("Connection", "").lower()
    is_old = request.environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    if connection and ("close" in options or (is_old and "keep-alive" not in options)):
        response.call_on_close(lambda: _shut_down(connection))
    return response


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # the client has closed the connection
        connection.shutdown(socket.SHUT_RD)
