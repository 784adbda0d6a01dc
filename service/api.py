"""/v1/...: photos in, verdicts out."""

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from service.model import Floats, Model
from service.photo import PhotoError, Pixels, read_photo
from service.problems import Problem
from service.settings import Settings

api = Blueprint("api", __name__, url_prefix="/v1")

_HOW_TO_SEND = (
    "send the photo as a multipart field 'image', as the body with Content-Type: image/jpeg, "
    'or as JSON {"image": "<base64>"}.'
)


@dataclass(frozen=True)
class Upload:
    """One photo as it came: its bytes, and its file name where the client gave one."""

    data: bytes
    filename: str | None = None


@api.post("/predict")
def predict() -> dict[str, Any]:
    """Answer the photos of one request: photo -> batch -> model -> verdict."""
    settings: Settings = current_app.extensions["settings"]
    model: Model = current_app.extensions["model"]
    uploads = _uploads(settings)

    started = time.perf_counter()
    photos = [_pixels(upload, model.size, settings) for upload in uploads]
    problems = [photo for photo in photos if isinstance(photo, Problem)]
    if len(problems) == len(uploads):
        raise problems[0]
    batch = np.stack([photo for photo in photos if not isinstance(photo, Problem)])
    decoded = time.perf_counter()
    answers = zip(*model.run(batch), strict=True)
    inferred = time.perf_counter()

    wants_heatmap = request.args.get("heatmap") == "true"
    return {
        "predictions": [
            photo.as_dict() | {"filename": upload.filename}
            if isinstance(photo, Problem)
            else _prediction(model, *next(answers), upload.filename, heatmap=wants_heatmap)
            for photo, upload in zip(photos, uploads, strict=True)
        ],
        "model": {"name": model.metadata.name, "version": model.metadata.version},
        "timing_ms": {"decode": _milliseconds(decoded - started), "inference": _milliseconds(inferred - decoded)},
        "request_id": g.request_id,
    }


@api.get("/model")
def describe() -> dict[str, Any]:
    """Answer what the served model says of itself, and where it runs."""
    model: Model = current_app.extensions["model"]
    return model.describe()


def _prediction(
    model: Model, probability: np.float32, evidence: Floats, filename: str | None, *, heatmap: bool
) -> dict[str, Any]:
    verdict = model.verdict(float(probability)).as_dict(model.metadata.positive_label) | {"filename": filename}
    return verdict | {"heatmap": [[round(float(cell), 4) for cell in row] for row in evidence]} if heatmap else verdict


def _pixels(upload: Upload, size: int, settings: Settings) -> Pixels | Problem:
    """Decode one photo; one that can't be used is a problem in its place, so that the others are answered."""
    try:
        return read_photo(upload.data, size, max_bytes=settings.max_bytes, max_pixels=settings.max_pixels)
    except PhotoError as error:
        return Problem.of_photo(error, upload.filename)


def _uploads(settings: Settings) -> list[Upload]:
    kind = request.mimetype
    if kind == "multipart/form-data":
        uploads = [Upload(file.read(), file.filename) for file in request.files.getlist("image") if file.filename]
    elif kind == "application/json":
        uploads = [_from_json(_body())]
    elif kind.startswith("image/"):
        uploads = [Upload(_body())]
    else:
        sent = f"The body's Content-Type is {kind}" if kind else "The request has no Content-Type"
        raise Problem(415, "unsupported-media-type", "Unsupported Media Type", f"{sent}; {_HOW_TO_SEND}")
    if not uploads:
        raise Problem(400, "no-image", "No image", f"The request has no photo; {_HOW_TO_SEND}")
    if len(uploads) > settings.max_images:
        detail = f"The request has {len(uploads)} photos; at most {settings.max_images} are answered at a time."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    return uploads


def _body() -> bytes:
    body = request.get_data()
    if len(body) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge  # a body sent in chunks says no length, and was cut off at the limit
    return body


def _from_json(body: bytes) -> Upload:
    try:
        text = json.loads(body)["image"]
        # Browsers make data: URLs, whose part before the comma says what the bytes will say themselves.
        return Upload(base64.b64decode(text.rpartition(",")[2], validate=True))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        detail = 'The JSON body must be {"image": "<the photo in base64>"}.'
        raise Problem(400, "bad-json", "The JSON body can't be read", detail) from error


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
