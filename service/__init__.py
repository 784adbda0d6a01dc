"""The inference service: HTTP API, photo decoding and model execution. It needs neither torch nor `training`."""

import os

__version__ = "0.1.0"

# ONNX Runtime reads this variable when it is imported; without it, some builds report usage to their vendor.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
