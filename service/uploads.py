"""The body of a request: the photos in it, in any of the three ways to send them."""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from flask import Request, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from service.errors import Full
from service.problems import Problem
from service.settings import Settings
from service.worker import REFUSE

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
        uploads = [_from_json(read_body())]
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


def refuse_unread() -> None:
    """Raise Full where the worker said so before the photo is received, which costs more than saying no."""
    if REFUSE in request.headers:
        raise Full


def read_body() -> bytes:
    """Return the whole body, in one piece where its length is known; raises Problem, RequestEntityTooLarge."""
    length, limit = request.content_length, request.max_content_length or 0
    with _receiving():
        g.body = (
            request.environ["wsgi.input"].read(length) if length is not None and length <= limit else request.get_data()
        )
    if length is None and len(g.body) >= limit:
        raise RequestEntityTooLarge  # a body sent in chunks says no length, and was cut off at the limit
    body: bytes = g.body
    return body


def _from_json(body: bytes) -> Upload:
    try:
        text = json.loads(body)["image"]
        # Browsers make data: URLs, whose part before the comma says what the bytes will say themselves.
        return Upload(base64.b64decode(text.rpartition(",")[2], validate=True))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        detail = 'The JSON body must be {"image": "<the photo in base64>"}.'
        raise Problem(400, "bad-json", "The JSON body can't be read", detail) from error


@contextmanager
def _receiving() -> Iterator[None]:
    """Turn what the reading of a body raises into a Problem: it is the client's, and no fault of the service."""
    try:
        yield
    except ValueError as error:
        detail = "The form can't be read; send it with its boundary, and with the names of fields and files in UTF-8."
        raise Problem(400, "bad-form", "The form can't be read", detail) from error
    except (OSError, ParseException) as error:  # a reset, or chunks that are not as HTTP has them
        detail = "The body did not come whole, or is not framed as its headers say; send the request again."
        raise Problem(400, "bad-body", "The body can't be read", detail) from error
