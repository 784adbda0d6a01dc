"""/v1: classify photos, describe the model."""

import base64
from typing import Any

from flask import Blueprint, current_app, g

from service import __version__, overlay
from service.access import current_sender
from service.collector import Collector
from service.decoders import Decoders
from service.model_manager import served_model
from service.pipeline import ClassifiedPhoto, classify_photos
from service.problems import Problem, query_parameter
from service.settings import Settings
from service.shadow import Shadow
from service.uploads import admitted, read_uploads

v1 = Blueprint("v1", __name__, url_prefix="/v1")


@v1.post("/predict")
def predict() -> dict[str, Any]:
    """Classify the photos of one request."""
    settings: Settings = current_app.extensions["settings"]
    decoders: Decoders = current_app.extensions["decoders"]
    collector: Collector | None = current_app.extensions["collector"]
    shadow: Shadow = current_app.extensions["shadow"]
    served = served_model()
    heatmap = query_parameter("heatmap", ("true", "png"))
    upsample = query_parameter("upsample", overlay.UPSAMPLE) or "bilinear"
    with admitted():
        uploads = read_uploads(settings)
        with current_app.extensions["admission"].reserved(len(uploads) - 1):
            results = classify_photos(served, decoders, [upload.data for upload in uploads], settings.deadline)

    classified = [each for each in results if isinstance(each, ClassifiedPhoto)]
    predictions: list[dict[str, Any]] = []
    for upload, result in zip(uploads, results, strict=True):
        if isinstance(result, ClassifiedPhoto):
            verdict = result.prediction.verdict
            if collector:
                collector.offer(upload.data, served.model, verdict, current_sender())
            shadow.offer(served, result.pixels, verdict, upload.data, current_sender())
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
    """Return the metadata of the served model, its device, the service's version, and whether photos are stored."""
    settings: Settings = current_app.extensions["settings"]
    has_inbox = current_app.extensions["inbox"] is not None
    compares = current_app.extensions["shadow"].candidate is not None
    stores = {"feedback": has_inbox, "collects": has_inbox and (bool(settings.collect) or compares)}
    return served_model().model.describe() | {"service_version": __version__} | stores


def _evidence(photo: ClassifiedPhoto, heatmap: str | None, upsample: str) -> dict[str, Any]:
    if heatmap == "png":
        png = overlay.as_png(overlay.overlay(photo.pixels, photo.prediction.heatmap, upsample))
        return {"heatmap_png": base64.b64encode(png).decode()}
    return {"heatmap": photo.prediction.heatmap.astype(float).round(4).tolist()} if heatmap else {}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
