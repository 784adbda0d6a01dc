"""/v2: the Open Inference Protocol, for clients of KServe and Triton."""

from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, g, request

from service import __version__, ops, v2_codec
from service.model import Model
from service.model_manager import served_model
from service.pipeline import classify_squares
from service.problems import Problem
from service.request_body import read_body
from service.settings import Settings
from service.uploads import admitted

v2 = Blueprint("v2", __name__, url_prefix="/v2")

_MODEL = "/models/<name>"
_VERSION = "/models/<name>/versions/<version>"


@v2.before_request
def _find_model() -> None:
    g.served = served_model()  # one model answers the whole request
    metadata = g.served.model.metadata
    names = {"name": metadata.name, "version": metadata.version}
    if names | (request.view_args or {}) != names:
        detail = f"There is no model at {request.path}; this is version {metadata.version} of {metadata.name}."
        raise Problem(404, "not-found", "Not Found", detail)


@v2.get("")
def describe_server() -> dict[str, Any]:
    """Return the name, the version and the protocol extensions of the server."""
    return {"name": "seefood", "version": __version__, "extensions": ["binary_tensor_data"]}


@v2.get("/health/live")
def live() -> dict[str, bool]:
    """Answer 200 while the process runs."""
    return {"live": True}


@v2.get("/health/ready")
def ready() -> dict[str, bool]:
    """Answer 200 after the warm-up inference, 503 before."""
    ops.ready()
    return {"live": True, "ready": True}  # the protocol defines `live`; KServe's client reads `ready`


@v2.get(_MODEL + "/ready")
@v2.get(_VERSION + "/ready")
def model_ready(name: str, **_: str) -> dict[str, Any]:
    """Answer as /v2/health/ready does: the service has one model."""
    ops.ready()
    return {"name": name, "ready": True}


@v2.get(_MODEL)
@v2.get(_VERSION)
def describe_model(**_: str) -> dict[str, Any]:
    """Return names, types and shapes of the model's tensors; -1 stands for the number of photos."""
    model: Model = g.served.model
    return {
        "name": model.metadata.name,
        "versions": [model.metadata.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, model.size, model.size, 3]}],
        "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in model.outputs.items()],
    }


@v2.post(_MODEL + "/infer")
@v2.post(_VERSION + "/infer")
def infer(**_: str) -> Response:
    """Classify one tensor of squares; the concurrency limit, the batches and the deadline are those of /v1/predict."""
    settings: Settings = current_app.extensions["settings"]
    with admitted():
        infer_request = v2_codec.read_request(read_body(), request.headers, g.served.model, settings.max_images)
        with current_app.extensions["admission"].reserved(len(infer_request.pixels) - 1):
            predictions = classify_squares(g.served, infer_request.pixels, settings.deadline)
    outputs = {name: np.array([getattr(each, name) for each in predictions], "<f4") for name in infer_request.outputs}
    body, headers = v2_codec.write_response(infer_request, g.served.model.metadata, outputs)
    return Response(body, headers=headers)
