"""What an operator asks: is the process alive, and may it have traffic."""

from typing import Any

from flask import Blueprint, current_app

from service.model import Model
from service.problems import Problem

ops = Blueprint("ops", __name__)


@ops.get("/livez")
def live() -> dict[str, str]:
    """Answer that the process runs, whatever the model does."""
    return {"status": "alive"}


@ops.get("/readyz")
def ready() -> dict[str, Any]:
    """Answer 200 once an inference has succeeded, 503 before."""
    model: Model = current_app.extensions["model"]
    if not model.warm:
        raise Problem(503, "not-ready", "Not ready", "The model has not answered its warm-up inference yet.")
    return {"status": "ready", "model": model.metadata.version, "device": model.device}
