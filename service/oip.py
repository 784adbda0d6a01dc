"""/v2/...: the Open Inference Protocol, so that clients of KServe and of Triton work as they are."""

from importlib.metadata import version
from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, g, request

from service import ops, tensors
from service.model import Model
from service.pipeline import answer_squares
from service.problems import Problem
from service.serving import Serving
from service.settings import Settings
from service.uploads import admitted, read_body

oip = Blueprint("oip", __name__, url_prefix="/v2")

_MODEL = "/models/<name>"
_VERSION = "/models/<name>/versions/<version>"


@oip.before_request
def _find_model() -> None:
    serving: Serving = current_app.extensions["serving"]
    g.served = serving.now  # one model answers all of a request
    metadata = g.served.model.metadata
    served = {"name": metadata.name, "version": metadata.version}
    if served | (request.view_args or {}) != served:
        detail = f"There is no model at {request.path}; this is version {served['version']} of {served['name']}."
        raise Problem(404, "not-found", "Not Found", detail)


@oip.get("")
def describe_server() -> dict[str, Any]:
    """Answer what serves, and what it can do beyond the protocol."""
    return {"name": "seefood", "version": version("seefood"), "extensions": ["binary_tensor_data"]}


@oip.get("/health/live")
def live() -> dict[str, bool]:
    """Answer that the process runs, whatever the model does."""
    return {"live": True}


@oip.get("/health/ready")
def ready() -> dict[str, bool]:
    """Answer 200 once an inference has succeeded, 503 before."""
    ops.ready()
    return {"live": True, "ready": True}  # the protocol names the one, KServe's client reads the other


@oip.get(_MODEL + "/ready")
@oip.get(_VERSION + "/ready")
def model_ready(name: str, **_: str) -> dict[str, Any]:
    """Answer as the service does, which has but one model."""
    ops.ready()
    return {"name": name, "ready": True}


@oip.get(_MODEL)
@oip.get(_VERSION)
def describe_model(**_: str) -> dict[str, Any]:
    """Answer the model's tensors; -1 stands for the number of photos."""
    model: Model = g.served.model
    return {
        "name": model.metadata.name,
        "versions": [model.metadata.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, model.size, model.size, 3]}],
        "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in model.outputs.items()],
    }


@oip.post(_MODEL + "/infer")
@oip.post(_VERSION + "/infer")
def infer(**_: str) -> Response:
    """Answer one tensor of squares of pixels, which share the queue, the batches and the deadline of all photos."""
    settings: Settings = current_app.extensions["settings"]
    with admitted() as more:
        asked = tensors.read_request(read_body(), request.headers, g.served.model, settings.max_images)
        more(len(asked.pixels) - 1)
        answers = answer_squares(g.served, asked.pixels, settings.deadline)
    outputs = {name: np.array([getattr(answer, name) for answer in answers], "<f4") for name in asked.outputs}
    body, headers = tensors.write_response(asked, g.served.model.metadata, outputs)
    return Response(body, headers=headers)
