"""The runtime: a photo in, a verdict out. Imports neither torch nor anything of training."""

import os

# ONNX Runtime's own builds would report to their maker what models are opened, and where; it reads this when imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
