"""/inside shows a photo on its way through the network; the browser runs the file that the page needs."""

from flask import Blueprint, Response, current_app, send_file

from service.model_manager import served_model
from service.problems import Problem
from service.registry import INSIDE

inside = Blueprint("inside", __name__)


@inside.get("/inside")
def page() -> Response:
    """Return the page."""
    return current_app.send_static_file("inside/index.html")


@inside.get("/web/inside.onnx")
def model_file() -> Response:
    """Return the served version with its stages as further outputs."""
    model = served_model().model
    path = model.path.with_name(INSIDE).resolve()
    if not path.is_file():
        version = model.metadata.version
        detail = f"The version {version} has no {INSIDE}; `seefood inspect {version} --onnx` writes it."
        raise Problem(404, "not-found", "Not Found", detail)
    return send_file(path, "application/octet-stream")
