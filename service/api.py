"""/v1/...: photos in, verdicts out."""

import base64
import time
from collections.abc import Collection
from typing import Any

from flask import Blueprint, current_app, g, request

from service import overlay
from service.batcher import Answer
from service.decoders import Decoders
from service.feedback import FULL, Feedback
from service.model import Model
from service.photo import PhotoError
from service.pipeline import Done, answer_photos
from service.problems import Problem
from service.serving import Serving
from service.settings import Settings
from service.uploads import admitted, read_uploads

api = Blueprint("api", __name__, url_prefix="/v1")


@api.post("/predict")
def predict() -> dict[str, Any]:
    """Answer the photos of one request: photo -> batch -> model -> verdict."""
    settings: Settings = current_app.extensions["settings"]
    decoders: Decoders = current_app.extensions["decoders"]
    served = _serving().now
    model = served.model
    heatmap = _parameter("heatmap", ("true", "png"))
    upsample = _parameter("upsample", overlay.UPSAMPLE) or "bilinear"
    with admitted() as more:
        uploads = read_uploads(settings)
        more(len(uploads) - 1)
        done = answer_photos(served, decoders, [upload.data for upload in uploads], settings.deadline)
    problems = [
        Problem.of_photo(one, upload.filename)
        for one, upload in zip(done, uploads, strict=True)
        if isinstance(one, PhotoError)
    ]
    if len(problems) == len(uploads):
        raise problems[0]

    answered = [one for one in done if isinstance(one, Done)]
    return {
        "predictions": [
            Problem.of_photo(one, upload.filename).as_dict() | {"filename": upload.filename}
            if isinstance(one, PhotoError)
            else _prediction(model, one.answer, upload.filename) | _evidence(one, heatmap, upsample)
            for one, upload in zip(done, uploads, strict=True)
        ],
        "model": {"name": model.metadata.name, "version": model.metadata.version},
        "timing_ms": {
            "decode": _milliseconds(max(one.decoded for one in answered)),
            "queue": _milliseconds(max(one.waited for one in answered)),
            "inference": _milliseconds(max(one.answer.inferred for one in answered)),
        },
        "request_id": g.request_id,
    }


@api.get("/model")
def describe() -> dict[str, Any]:
    """Answer what the served model says of itself, and where it runs."""
    return _serving().now.model.describe()


@api.post("/feedback")
def feedback() -> tuple[dict[str, Any], int]:
    """Store one photo, as it was sent, under the label that its sender says is right."""
    settings: Settings = current_app.extensions["settings"]
    decoders: Decoders = current_app.extensions["decoders"]
    served = _serving().now
    store = served.feedback
    if store is None:
        detail = "Feedback is off, and nothing is stored; set SEEFOOD_FEEDBACK_DIR for the service to turn it on."
        raise Problem(404, "feedback-off", "Feedback is off", detail)
    with admitted():
        return _store(store, decoders, served.model.size, settings)


def _store(store: Feedback, decoders: Decoders, size: int, settings: Settings) -> tuple[dict[str, Any], int]:
    upload, *others = read_uploads(settings)
    if others:
        detail = f"The request has {len(others) + 1} photos; feedback has one label, and so one photo."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    label = (g.fields if request.mimetype == "application/json" else request.values).get("label")
    if label not in store.labels:
        said = "The request has no label" if label is None else f"The label is {str(label)[:40]!r}"
        detail = f"{said}; send 'label' with the photo, as {' or '.join(store.labels)}."
        raise Problem(400, "unknown-label", "Unknown label", detail)
    try:
        suffix = decoders.suffix(upload.data, size, time.monotonic() + settings.deadline).value
    except PhotoError as error:
        raise Problem.of_photo(error, upload.filename) from error
    try:
        stored = store.store(upload.data, label, suffix)
    except OSError as error:
        current_app.logger.warning("feedback can't be stored: %s", error)
        detail = f"The photo is not stored: {error.strerror}."
        if error.errno in FULL:
            raise Problem(507, "feedback-full", "No room for feedback", detail) from error
        raise Problem(503, "feedback-unavailable", "Feedback can't be stored", detail) from error
    return {"stored": stored}, 201 if stored else 200


def _parameter(name: str, values: Collection[str]) -> str | None:
    """Return the value of a parameter of the address; a typing error would otherwise change the answer unseen."""
    value = request.args.get(name)
    if value is not None and value not in values:
        detail = f"The parameter {name} is {value[:40]!r}; it may be {' or '.join(values)}."
        raise Problem(400, "bad-parameter", "Bad parameter", detail)
    return value


def _prediction(model: Model, answer: Answer, filename: str | None) -> dict[str, Any]:
    verdict = model.verdict(answer.probability, answer.familiarity)
    return verdict.as_dict(model.metadata.positive_label) | {"filename": filename}


def _evidence(done: Done, heatmap: str | None, upsample: str) -> dict[str, Any]:
    if heatmap == "png":
        png = overlay.as_png(overlay.overlay(done.pixels, done.answer.heatmap, upsample))
        return {"heatmap_png": base64.b64encode(png).decode()}
    return {"heatmap": done.answer.heatmap.astype(float).round(4).tolist()} if heatmap else {}


def _serving() -> Serving:
    serving: Serving = current_app.extensions["serving"]
    return serving


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
