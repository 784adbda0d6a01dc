"""What an operator asks: is the process alive, may it have traffic, and what did it do."""

from typing import Any

from flask import Blueprint, Response, current_app, request

from service import metrics
from service.problems import Problem
from service.serving import Serving

ops = Blueprint("ops", __name__)


@ops.get("/livez")
def live() -> dict[str, str]:
    """Answer that the process runs, whatever the model does."""
    return {"status": "alive"}


@ops.get("/readyz")
def ready() -> dict[str, Any]:
    """Answer 200 once an inference has succeeded, 503 before."""
    serving: Serving = current_app.extensions["serving"]
    model = serving.now.model
    if not model.warm:
        raise Problem(503, "not-ready", "Not ready", "The model has not answered its warm-up inference yet.")
    return {"status": "ready", "model": model.metadata.version, "device": model.device}


@ops.get("/metrics")
def measure() -> Response:
    """Answer what the service counted, for Prometheus."""
    body, content_type = metrics.exposition(request.headers.get("Accept", ""))
    return Response(body, content_type=content_type)
