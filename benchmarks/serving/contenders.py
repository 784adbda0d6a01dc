"""The services that are measured: how each is started, as its documentation says, and how it receives a photo."""

import os
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path

LIMIT = "the limit: decode and inference in-process"  # no contender, but a row of the same tables
BIN = Path(sys.executable).parent
_TRITON = BIN.parent / "triton"  # PyTriton requires an older NumPy than the rest


@dataclass(frozen=True)
class Contender:
    """A service that is measured.

    Attributes:
        name: its name in tables and plots.
        command: starts it; {port} and {cpus} are filled in.
        path: path for POST requests with photos.
        form: name of the form field with the photo; empty: the photo is the body.
        packages: what it consists of; the results contain their versions.
        settings: additional environment variables.
        headers: additional request headers.
        environment: folder of its virtual environment.
    """

    name: str
    command: tuple[str, ...]
    path: str
    form: str = ""
    packages: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    environment: Path = BIN.parent

    def versions(self) -> dict[str, str]:
        """Return the version of each package; empty if its environment is not installed."""
        found = distributions(path=[str(path) for path in self.environment.glob("lib/python3*/site-packages")])
        installed = {each.name: each.version for each in found}
        return {package: installed[package] for package in self.packages if package in installed}


def _seefood(name: str, precision: str) -> Contender:
    command = (f"{BIN}/seefood", "serve", "--port", "{port}")
    return Contender(
        name, command, "/v1/predict", packages=("onnxruntime", "gunicorn"), settings={"SEEFOOD_PRECISION": precision}
    )


SEEFOOD = _seefood("SeeFood", "int8")
_AS_ROOT = "-g 'user root;'" if os.geteuid() == 0 else ""  # other users can't enter its temporary folders
_UPSTREAM_PORT = 18123
FRONT = Contender(
    "SeeFood behind nginx",
    (
        "sh",
        "-c",
        f"{BIN}/seefood serve --port {_UPSTREAM_PORT} & SEEFOOD_FRONT_PORT={{port}} exec deploy/nginx/start {_AS_ROOT}",
    ),
    "/v1/predict",
    settings={
        "SEEFOOD_PRECISION": "int8",
        "SEEFOOD_UPSTREAM": f"127.0.0.1:{_UPSTREAM_PORT}",
        "SEEFOOD_FRONT_DIR": f"{tempfile.gettempdir()}/seefood-front",
        "SEEFOOD_FRONT_PER_ADDRESS": "1024",  # the load comes from one address
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    },
)


def checkout(folder: Path) -> Contender:
    """Return the service of another checkout, which runs with the packages and the models of this one."""
    command = f"cd {shlex.quote(str(folder))} && exec {sys.executable} -m service.cli serve --port {{port}}"
    settings = {"PYTHONPATH": str(folder), "SEEFOOD_PRECISION": "int8"}
    return Contender(f"SeeFood in {folder.name}", ("sh", "-c", command), "/v1/predict", settings=settings)


_SERVERS = "benchmarks.serving.servers"
PEERS = (
    _seefood("SeeFood, float32", "float32"),
    Contender(
        "FastAPI + ONNX Runtime",
        (f"{BIN}/uvicorn", f"{_SERVERS}.fastapi_onnx:app", "--port", "{port}", "--workers", "{cpus}"),
        "/predict",
        "file",
        ("fastapi", "uvicorn", "onnxruntime"),
    ),
    Contender(
        "LitServe + ONNX Runtime",
        (f"{BIN}/python", "-m", f"{_SERVERS}.litserve_onnx", "{port}"),
        "/predict",
        "content",
        ("litserve", "onnxruntime"),
    ),
    Contender(
        "BentoML + ONNX Runtime, adaptive batching",
        (f"{BIN}/bentoml", "serve", f"{_SERVERS}.bentoml_onnx:Hotdog", "--port", "{port}"),
        "/predict",
        "images",
        ("bentoml", "onnxruntime"),
        {"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Contender(
        "Flask + PyTorch under gunicorn",
        (f"{BIN}/gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "{cpus}", f"{_SERVERS}.flask_torch:app"),
        "/predict",
        "file",
        ("flask", "gunicorn", "torch"),
    ),
    Contender(
        "Triton (PyTriton) + ONNX Runtime, dynamic batching",
        (f"{_TRITON}/bin/python", "-m", f"{_SERVERS}.triton_onnx", "{port}"),
        "/v2/models/hotdog/infer",
        packages=("nvidia-pytriton", "onnxruntime"),
        headers={"Inference-Header-Content-Length": "0"},
        environment=_TRITON,
    ),
)
