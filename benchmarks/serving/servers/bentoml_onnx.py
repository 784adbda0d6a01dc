"""BentoML with ONNX Runtime: one worker per CPU, adaptive batching of photos of several requests."""

import bentoml
import numpy as np
from PIL import Image

from benchmarks.serving.servers.preprocess import CPUS, normalised, onnx_session


@bentoml.service(workers=CPUS, traffic={"timeout": 60})
class Hotdog:
    """Classify photos."""

    def __init__(self) -> None:
        self.session = onnx_session(threads=1)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def predict(self, images: list[Image.Image]) -> list[float]:
        """Return the probability of each photo."""
        batch = np.stack([normalised(image) for image in images])
        return self.session.run(None, {"images": batch})[0].tolist()
