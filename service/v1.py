"""/v1: classify photos, describe the model, take feedback."""

import base64
import time
from collections.abc import Collection
from typing import Any

from flask import Blueprint, current_app, g, request

from service import __version__, overlay
from service.decoders import Decoders
from service.feedback import DISK_FULL, Feedback
from service.model_manager import ServedModel, served_model
from service.photo import PhotoError
from service.pipeline import ClassifiedPhoto, classify_photos
from service.problems import Problem
from service.settings import Settings
from service.uploads import admitted, read_uploads

v1 = Blueprint("v1", __name__, url_prefix="/v1")


@v1.post("/predict")
def predict() -> dict[str, Any]:
    """Classify the photos of one request."""
    settings: Settings = current_app.extensions["settings"]
    decoders: Decoders = current_app.extensions["decoders"]
    served = served_model()
    heatmap = _parameter("heatmap", ("true", "png"))
    upsample = _parameter("upsample", overlay.UPSAMPLE) or "bilinear"
    with admitted():
        uploads = read_uploads(settings)
        with current_app.extensions["admission"].reserved(len(uploads) - 1):
            results = classify_photos(served, decoders, [upload.data for upload in uploads], settings.deadline)

    classified = [each for each in results if isinstance(each, ClassifiedPhoto)]
    predictions: list[dict[str, Any]] = []
    for upload, result in zip(uploads, results, strict=True):
        if isinstance(result, ClassifiedPhoto):
            verdict = served.model.verdict(result.prediction.probability, result.prediction.familiarity)
            fields = verdict.as_dict(served.model.metadata.positive_label) | {"filename": upload.filename}
            predictions.append(fields | _evidence(result, heatmap, upsample))
        else:
            problem = Problem.from_photo_error(result, upload.filename)
            if not classified:
                raise problem
            predictions.append(problem.as_dict() | {"filename": upload.filename})
    return {
        "predictions": predictions,
        "model": {"name": served.model.metadata.name, "version": served.model.metadata.version},
        "timing_ms": {
            "decode": _milliseconds(max(each.decode_seconds for each in classified)),
            "queue": _milliseconds(max(each.queue_seconds for each in classified)),
            "inference": _milliseconds(max(each.prediction.inference_seconds for each in classified)),
        },
        "request_id": g.request_id,
    }


@v1.get("/model")
def describe() -> dict[str, Any]:
    """Return the metadata of the served model, its device, the service's version, and whether feedback is on."""
    served = served_model()
    return served.model.describe() | {"service_version": __version__, "feedback": served.feedback is not None}


@v1.post("/feedback")
def feedback() -> tuple[dict[str, Any], int]:
    """Store one photo, unchanged, under the label that its sender gives."""
    served = served_model()
    store = _feedback_store(served)
    with admitted():
        return _store(store, served.model.size)


@v1.delete("/feedback/<receipt>")
def undo_feedback(receipt: str) -> tuple[str, int]:
    """Delete the photo that was stored with this receipt."""
    try:
        deleted = _feedback_store(served_model()).delete(receipt)
    except OSError as error:
        current_app.logger.warning("feedback can't be deleted: %s", error)
        detail = f"The photo is not deleted: {error.strerror}."
        raise Problem(503, "feedback-unavailable", "Feedback can't be deleted", detail) from error
    if not deleted:
        detail = "No photo is stored with this receipt; it may be deleted already."
        raise Problem(404, "unknown-receipt", "Unknown receipt", detail)
    return "", 204


def _feedback_store(served: ServedModel) -> Feedback:
    if served.feedback is None:
        detail = "Feedback is off, and the photo is not stored; set SEEFOOD_FEEDBACK_DIR on the service to turn it on."
        raise Problem(404, "feedback-off", "Feedback is off", detail)
    return served.feedback


def _store(store: Feedback, size: int) -> tuple[dict[str, Any], int]:
    settings: Settings = current_app.extensions["settings"]
    decoders: Decoders = current_app.extensions["decoders"]
    upload, *others = read_uploads(settings)
    if others:
        detail = f"The request has {len(others) + 1} photos; send one photo and its label."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    label = (g.fields if request.mimetype == "application/json" else request.values).get("label")
    if label not in store.labels:
        found = "The request has no label" if label is None else f"The label is {str(label)[:40]!r}"
        detail = f"{found}; send 'label' with the photo, as {' or '.join(store.labels)}."
        raise Problem(400, "unknown-label", "Unknown label", detail)
    try:
        suffix, _ = decoders.suffix(upload.data, size, time.monotonic() + settings.deadline)
    except PhotoError as error:
        raise Problem.from_photo_error(error, upload.filename) from error
    try:
        receipt = store.store(upload.data, label, suffix)
    except OSError as error:
        current_app.logger.warning("feedback can't be stored: %s", error)
        detail = f"The photo is not stored: {error.strerror}."
        if error.errno in DISK_FULL:
            raise Problem(507, "feedback-full", "No room for feedback", detail) from error
        raise Problem(503, "feedback-unavailable", "Feedback can't be stored", detail) from error
    return ({"stored": True, "receipt": receipt}, 201) if receipt else ({"stored": False}, 200)


def _parameter(name: str, values: Collection[str]) -> str | None:
    """Return the value of a query parameter; raises Problem for any other value, so that a typo is not ignored."""
    value = request.args.get(name)
    if value is not None and value not in values:
        detail = f"The parameter {name} is {value[:40]!r}; it must be {' or '.join(values)}."
        raise Problem(400, "bad-parameter", "Bad parameter", detail)
    return value


def _evidence(photo: ClassifiedPhoto, heatmap: str | None, upsample: str) -> dict[str, Any]:
    if heatmap == "png":
        png = overlay.as_png(overlay.overlay(photo.pixels, photo.prediction.heatmap, upsample))
        return {"heatmap_png": base64.b64encode(png).decode()}
    return {"heatmap": photo.prediction.heatmap.astype(float).round(4).tolist()} if heatmap else {}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
