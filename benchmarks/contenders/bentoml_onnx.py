"""BentoML with ONNX Runtime, one worker a CPU, adaptive batching on: photos of several requests in one inference."""

import bentoml
import numpy as np
from PIL import Image

from benchmarks.contenders.preprocess import CPUS, normalised, onnx_session


@bentoml.service(workers=CPUS, traffic={"timeout": 60})
class Hotdog:
    """Photos to probabilities."""

    def __init__(self) -> None:
        self.session = onnx_session(threads=1)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def predict(self, images: list[Image.Image]) -> list[float]:
        """Answer a batch of photos."""
        batch = np.stack([normalised(image) for image in images])
        return self.session.run(None, {"images": batch})[0].tolist()
