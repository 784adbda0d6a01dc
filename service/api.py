"""/v1/...: photos in, verdicts out."""

import base64
import json
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any

from flask import Blueprint, current_app, g, request

from service import overlay
from service.batcher import Answer
from service.feedback import FULL, Feedback
from service.model import Model
from service.photo import PhotoError, Pixels, read_photo
from service.pipeline import Done, Pipeline
from service.problems import Problem
from service.settings import Settings
from service.uploads import Upload, read_uploads, refuse_unread

api = Blueprint("api", __name__, url_prefix="/v1")


@api.post("/predict")
def predict() -> dict[str, Any]:
    """Answer the photos of one request: photo -> batch -> model -> verdict."""
    settings: Settings = current_app.extensions["settings"]
    model: Model = current_app.extensions["model"]
    pipeline: Pipeline = current_app.extensions["pipeline"]
    heatmap = _parameter("heatmap", ("true", "png"))
    upsample = _parameter("upsample", overlay.UPSAMPLE) or "bilinear"
    refuse_unread()
    uploads = read_uploads(settings)
    reads = [cache(_reader(upload, model.size, settings)) for upload in uploads]  # whoever reads again decodes nothing
    done = pipeline.answer(reads, settings.deadline)
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
            else _prediction(model, one.answer, upload.filename) | _evidence(one.answer, heatmap, upsample, read)
            for one, upload, read in zip(done, uploads, reads, strict=True)
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
    model: Model = current_app.extensions["model"]
    return model.describe()


@api.post("/feedback")
def feedback() -> tuple[dict[str, Any], int]:
    """Store one photo, as it was sent, under the label that its sender says is right."""
    settings: Settings = current_app.extensions["settings"]
    model: Model = current_app.extensions["model"]
    pipeline: Pipeline = current_app.extensions["pipeline"]
    store: Feedback | None = current_app.extensions["feedback"]
    if store is None:
        detail = "Feedback is off, and nothing is stored; set SEEFOOD_FEEDBACK_DIR for the service to turn it on."
        raise Problem(404, "feedback-off", "Feedback is off", detail)
    refuse_unread()
    upload, *more = read_uploads(settings)
    if more:
        detail = f"The request has {len(more) + 1} photos; feedback has one label, and so is about one photo at a time."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    fields = json.loads(g.body) if request.mimetype == "application/json" else request.values
    label = fields.get("label")
    if label not in store.labels:
        said = "The request has no label" if label is None else f"The label is {str(label)[:40]!r}"
        detail = f"{said}; send 'label' with the photo, as {' or '.join(store.labels)}."
        raise Problem(400, "unknown-label", "Unknown label", detail)
    # Nobody needs the model's answer here, but its queue bounds how many photos are decoded at a time.
    (done,) = pipeline.answer([_reader(upload, model.size, settings)], settings.deadline)
    if isinstance(done, PhotoError):
        raise Problem.of_photo(done, upload.filename)
    try:
        stored = store.store(upload.data, label)
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


def _evidence(answer: Answer, heatmap: str | None, upsample: str, read: Callable[[], Pixels]) -> dict[str, Any]:
    if heatmap == "png":
        png = overlay.as_png(overlay.overlay(read(), answer.heatmap, upsample))
        return {"heatmap_png": base64.b64encode(png).decode()}
    return {"heatmap": answer.heatmap.astype(float).round(4).tolist()} if heatmap else {}


def _reader(upload: Upload, size: int, settings: Settings) -> Callable[[], Pixels]:
    limits = {"max_bytes": settings.max_bytes, "max_pixels": settings.max_pixels}
    return partial(read_photo, upload.data, size, **limits)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
