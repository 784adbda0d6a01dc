"""The photos in a request, in any of the three ways to send them: a form, a raw body or JSON."""

import base64
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Request, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from service.admission import Admission
from service.problems import Problem
from service.request_body import JSON_COPIES, bad_json, read_body, read_json, receiving
from service.settings import Settings

_HOW_TO_SEND = (
    "send the photo as a multipart field 'image', as the body with Content-Type: image/jpeg, "
    'or as JSON {"image": "<base64>"}.'
)


@dataclass(frozen=True)
class Upload:
    """The bytes of one photo, and its file name if the client sent one."""

    data: bytes
    filename: str | None = None


class StrictRequest(Request):
    """A request that raises ValueError for an invalid form; Flask's own treats it as an empty form."""

    form_data_parser_class = partial(FormDataParser, silent=False)  # type: ignore[assignment]


def read_uploads(settings: Settings) -> list[Upload]:
    """Read the photos of the request; raises Problem."""
    kind = request.mimetype
    if kind == "multipart/form-data":
        with receiving():
            files = request.files.getlist("image")
        uploads = [Upload(file.read(), file.filename) for file in files if file.filename]
    elif kind == "application/json":
        g.fields = read_json()
        uploads = [_from_json(g.fields)]
    elif kind.startswith("image/"):
        uploads = [Upload(read_body())]
    else:
        sent = f"The Content-Type is {kind}" if kind else "The request has no Content-Type"
        raise Problem(415, "unsupported-media-type", "Unsupported Media Type", f"{sent}; {_HOW_TO_SEND}")
    if not uploads:
        raise Problem(400, "no-image", "No image", f"The request has no photo; {_HOW_TO_SEND}")
    if len(uploads) > settings.max_images:
        detail = f"The request has {len(uploads)} photos; send at most {settings.max_images} in one request."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    return uploads


def admitted() -> AbstractContextManager[None]:
    """Reserve one photo and the memory of the body before it is read, until the block ends.

    A body of unknown length reserves the largest length that is accepted.

    Raises:
        Overloaded: the concurrency limit is reached.
        RequestEntityTooLarge: the body is longer than the limit.
    """
    admission: Admission = current_app.extensions["admission"]
    limit = request.max_content_length or 0
    length = limit if request.content_length is None else request.content_length
    if length > limit:
        raise RequestEntityTooLarge
    return admission.reserved(1, length * (JSON_COPIES if request.is_json else 1))


def _from_json(body: Any) -> Upload:
    try:
        # A data: URL has a prefix up to the comma, which is not needed: the bytes tell the format.
        return Upload(base64.b64decode(body["image"].rpartition(",")[2], validate=True))
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # binascii.Error is a ValueError
        raise bad_json('The JSON body must be {"image": "<the photo in base64>"}.') from error
