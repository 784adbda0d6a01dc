"""Who is measured: how each is started, as its own documentation says, and how a photo is sent to it."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = "the limit: decode and inference in-process"  # no contender, but stands in the same tables
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Contender:
    """One way to serve the network.

    Attributes:
        name: what tables and plots call it.
        command: starts it; {port} and {cpus} are filled in.
        path: where a photo is POSTed.
        form: name of the form's field that takes the photo; empty: the photo is the body.
        packages: what it is made of; their versions go into the results.
        settings: environment variables that it is given.
        headers: what its requests carry beside the content type.
        environment: of the Python packages, where it can't share that of the rest.
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
        """Return the version of each package that it is made of; none where its environment is not installed."""
        python = self.environment / "bin" / "python"
        ask = "import json, sys, importlib.metadata as m; print(json.dumps([*map(m.version, sys.argv[1:])]))"
        if not python.exists():
            return {}
        printed = subprocess.run([python, "-c", ask, *self.packages], capture_output=True, text=True, check=True).stdout
        return dict(zip(self.packages, json.loads(printed), strict=True))


def _python(module: str, environment: Path = BIN.parent) -> tuple[str, ...]:
    return (f"{environment}/bin/python", "-m", f"benchmarks.contenders.{module}", "{port}")


TORCHSERVE, TRITON = BIN.parent / "torchserve", BIN.parent / "triton"


def _seefood(name: str, precision: str) -> Contender:
    command = (f"{BIN}/seefood", "serve", "--port", "{port}")
    return Contender(
        name, command, "/v1/predict", packages=("onnxruntime", "gunicorn"), settings={"SEEFOOD_PRECISION": precision}
    )


SEEFOOD = _seefood("SeeFood", "int8")
_AS_ROOT = "-g 'user root;'" if os.geteuid() == 0 else ""  # whose temporary folders nobody else may enter
_BEHIND = 18123  # the port of the service that only the front door knows
FRONT = Contender(
    "SeeFood behind nginx",
    (
        "sh",
        "-c",
        f"{BIN}/seefood serve --port {_BEHIND} & SEEFOOD_FRONT_PORT={{port}} exec deploy/nginx/start {_AS_ROOT}",
    ),
    "/v1/predict",
    settings={
        "SEEFOOD_PRECISION": "int8",
        "SEEFOOD_UPSTREAM": f"127.0.0.1:{_BEHIND}",
        "SEEFOOD_FRONT_DIR": f"{tempfile.gettempdir()}/seefood-front",
        "SEEFOOD_FRONT_PER_ADDRESS": "1024",  # the load comes from one address
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    },
)

PEERS = (
    _seefood("SeeFood, float32", "float32"),
    Contender(
        "FastAPI + ONNX Runtime",
        (f"{BIN}/uvicorn", "benchmarks.contenders.fastapi_onnx:app", "--port", "{port}", "--workers", "{cpus}"),
        "/predict",
        "file",
        ("fastapi", "uvicorn", "onnxruntime"),
    ),
    Contender("LitServe + ONNX Runtime", _python("litserve_onnx"), "/predict", "content", ("litserve", "onnxruntime")),
    Contender(
        "BentoML + ONNX Runtime, adaptive batching",
        (f"{BIN}/bentoml", "serve", "benchmarks.contenders.bentoml_onnx:Hotdog", "--port", "{port}"),
        "/predict",
        "images",
        ("bentoml", "onnxruntime"),
        {"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Contender(
        "Ray Serve + ONNX Runtime",
        _python("ray_serve"),
        "/",
        packages=("ray", "onnxruntime"),
        settings={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Contender(
        "Flask + PyTorch under gunicorn",
        (
            f"{BIN}/gunicorn",
            "--bind",
            "127.0.0.1:{port}",
            "--workers",
            "{cpus}",
            "benchmarks.contenders.flask_torch:app",
        ),
        "/predict",
        "file",
        ("flask", "gunicorn", "torch"),
    ),
    Contender("LitServe + PyTorch", _python("litserve_torch"), "/predict", "content", ("litserve", "torch")),
    Contender(
        "TorchServe, batching",
        _python("torchserve.serve", TORCHSERVE),
        "/predictions/hotdog",
        packages=("torchserve", "torch"),
        environment=TORCHSERVE,
    ),
    Contender(
        "Triton (PyTriton) + ONNX Runtime, dynamic batching",
        _python("pytriton_onnx", TRITON),
        "/v2/models/hotdog/infer",
        packages=("nvidia-pytriton", "onnxruntime"),
        headers={"Inference-Header-Content-Length": "0"},
        environment=TRITON,
    ),
)
