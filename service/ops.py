"""Routes for operators: liveness, readiness and metrics."""

from typing import Any

from flask import Blueprint, Response, request
from prometheus_client.exposition import choose_encoder

from service import metrics
from service.model_manager import served_model
from service.problems import Problem

ops = Blueprint("ops", __name__)


@ops.get("/livez")
def live() -> dict[str, str]:
    """Answer 200 while the process runs."""
    return {"status": "alive"}


@ops.get("/readyz")
def ready() -> dict[str, Any]:
    """Answer 200 after the warm-up inference, 503 before."""
    model = served_model().model
    if not model.warm:
        raise Problem(503, "not-ready", "Not ready", "The model has not finished its warm-up inference yet.")
    return {"status": "ready", "model": model.metadata.version, "device": model.device}


@ops.get("/metrics")
def prometheus_metrics() -> Response:
    """Return the metrics for Prometheus, in the format that the Accept header asks for."""
    try:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    except TypeError:  # the library raises it on an invalid version number
        encode, content_type = choose_encoder("")
    metrics.set_drift(served_model().live.drift())
    return Response(encode(metrics.registry), content_type=content_type)
