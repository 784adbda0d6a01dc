"""The body of a request: the photos in it, in any of the three ways to send them."""

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Request, Response, current_app, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from service.admission import Admission
from service.problems import Problem
from service.settings import Settings

SILENCE = 10  # seconds in which a client that sends a body must send something
JSON_COPIES = 3  # of a body are in memory at a time: as it came, as text, and as the photo in it
_MOST_VALUES = 10_000  # in a JSON body, but for tensors
_PIECE, _LARGE_PIECE = 1 << 16, 1 << 20  # bytes that are thrown away, and that are read, at a time
_reading_json = threading.Lock()
_HOW_TO_SEND = (
    "send the photo as a multipart field 'image', as the body with Content-Type: image/jpeg, "
    'or as JSON {"image": "<base64>"}.'
)


@dataclass(frozen=True)
class Upload:
    """One photo as it came: its bytes, and its file name where the client gave one."""

    data: bytes
    filename: str | None = None


class StrictRequest(Request):
    """A request whose form raises ValueError where it can't be read, and is not taken for an empty one."""

    form_data_parser_class = partial(FormDataParser, silent=False)  # type: ignore[assignment]


def read_uploads(settings: Settings) -> list[Upload]:
    """Read the photos of the request, in any of the three ways to send them; raises Problem."""
    kind = request.mimetype
    if kind == "multipart/form-data":
        with _receiving():
            files = request.files.getlist("image")
        uploads = [Upload(file.read(), file.filename) for file in files if file.filename]
    elif kind == "application/json":
        g.fields = read_json()
        uploads = [_from_json(g.fields)]
    elif kind.startswith("image/"):
        uploads = [Upload(read_body())]
    else:
        sent = f"The body's Content-Type is {kind}" if kind else "The request has no Content-Type"
        raise Problem(415, "unsupported-media-type", "Unsupported Media Type", f"{sent}; {_HOW_TO_SEND}")
    if not uploads:
        raise Problem(400, "no-image", "No image", f"The request has no photo; {_HOW_TO_SEND}")
    if len(uploads) > settings.max_images:
        detail = f"The request has {len(uploads)} photos; at most {settings.max_images} are answered at a time."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    return uploads


@contextmanager
def admitted() -> Iterator[Callable[[int], None]]:
    """Take a place for a photo and room for the body before it is read; gives what takes places for more photos.

    Both raise Full where there is none. A body whose length is unknown may have any that is accepted.

    Raises:
        RequestEntityTooLarge: the body's length is more than that.
    """
    admission: Admission = current_app.extensions["admission"]
    limit = request.max_content_length or 0
    length = limit if request.content_length is None else request.content_length
    if length > limit:
        raise RequestEntityTooLarge
    with admission.admitted(length * (JSON_COPIES if request.is_json else 1)) as more:
        yield more


def throw_away_rest(response: Response) -> Response:
    """Receive, for a while, what nobody has read of the body.

    Many clients read an answer only when they have sent all, and gunicorn closes a connection of which much is unread.
    """
    until = time.monotonic() + SILENCE
    if "body_ended" not in g:
        with suppress(Problem), _receiving():
            while request.environ["wsgi.input"].read(_PIECE) and time.monotonic() < until:
                pass
    return response


def read_body() -> bytes:
    """Return the whole body; raises Problem, RequestEntityTooLarge."""
    # In large pieces and from the server itself: werkzeug's stream takes 64 KB at a time, and four times as long.
    stream, left = request.environ["wsgi.input"], (request.max_content_length or 0) + 1
    pieces = []
    with _receiving():
        while piece := stream.read(min(left, _LARGE_PIECE)):
            pieces.append(piece)
            left -= len(piece)
    if not left:  # it came in chunks and said no length
        raise RequestEntityTooLarge
    body = b"".join(pieces)
    if len(body) < (request.content_length or 0):
        raise _cut_off()
    return body


def read_json(body: bytes | None = None, most: int = _MOST_VALUES) -> Any:
    """Return what a JSON body says; raises Problem, also where it has more than so many values.

    A value takes up to a hundred times as much memory as its text, so one body at a time is read.
    """
    body = read_body() if body is None else body
    if sum(map(body.count, (b",", b"[", b"{"))) > most:
        detail = f"The JSON body has more than {most:,} values; send a photo in base64, or a tensor as bytes."
        raise Problem(413, "too-many-values", "Too many values", detail)
    try:
        with _reading_json:
            return json.loads(body)
    except (ValueError, RecursionError) as error:
        detail = f"The body's {len(body)} bytes of JSON can't be read."
        raise Problem(400, "bad-json", "The JSON body can't be read", detail) from error


def _from_json(body: Any) -> Upload:
    try:
        # Browsers make data: URLs, whose part before the comma says what the bytes will say themselves.
        return Upload(base64.b64decode(body["image"].rpartition(",")[2], validate=True))
    except (ValueError, LookupError, TypeError, AttributeError, binascii.Error) as error:
        detail = 'The JSON body must be {"image": "<the photo in base64>"}.'
        raise Problem(400, "bad-json", "The JSON body can't be read", detail) from error


@contextmanager
def _receiving() -> Iterator[None]:
    """Turn what the reading of a body raises into a Problem: it is the client's, and no fault of the service."""
    connection = request.environ.get("gunicorn.socket")
    if connection:
        connection.settimeout(SILENCE)
    try:
        yield
    except (TimeoutError, ClientDisconnected) as error:  # werkzeug raises the second in place of whatever it catches
        g.body_ended = True
        if isinstance(error, ClientDisconnected) and not isinstance(error.__context__, TimeoutError):
            raise _cut_off() from error
        detail = f"Nothing of the body has come for {SILENCE} seconds; send the request again."
        raise Problem(408, "request-timeout", "Request Timeout", detail) from error
    except ValueError as error:
        detail = "The form can't be read; send it with its boundary, and with the names of fields and files in UTF-8."
        raise Problem(400, "bad-form", "The form can't be read", detail) from error
    except (OSError, ParseException) as error:  # a reset, or chunks that are not as HTTP has them
        g.body_ended = True
        raise _cut_off() from error
    finally:
        if connection:
            connection.settimeout(None)


def _cut_off() -> Problem:
    detail = "The body did not come whole, or is not framed as its headers say; send the request again."
    return Problem(400, "bad-body", "The body can't be read", detail)
