"""NVIDIA Triton, from the wheel of PyTriton: its HTTP server and dynamic batching before Pillow and ONNX Runtime.

    python benchmarks/contenders/triton/serve.py models/VERSION/model.onnx --port 8000

One header makes a photo's bytes the whole body of a request, Inference-Header-Content-Length: 0.
"""

import argparse
import io
import os
import signal
import sysconfig
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

NAME = "hotdog"
SHORT_SIDE = 256
SIZE = 224


def _pixels(photo: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def _instance(model: str) -> Callable[..., list[dict[str, NDArray[np.float32]]]]:
    # One thread a session, as there is an instance for every core.
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @batch
    def infer(photo: NDArray[np.object_]) -> dict[str, NDArray[np.float32]]:
        pixels = np.stack([_pixels(data) for data in photo[:, 0]])
        (probability,) = session.run(["probability"], {"pixels": pixels})
        return {"probability": probability[:, None]}

    return infer


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    # PyTriton stops its server on an interrupt alone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Triton's Python is whatever libpython the loader finds, and the system's may be older than this one's library.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    # The other endpoints would take ports that nobody gave.
    config = TritonConfig(http_address="127.0.0.1", http_port=arguments.port, allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name=NAME,
            infer_func=[_instance(arguments.model) for _ in os.sched_getaffinity(0)],
            # Of object, as a string of NumPy's own would lose the zeros that a photo ends with.
            inputs=[Tensor(name="photo", dtype=object, shape=(1,))],
            outputs=[Tensor(name="probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=8, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
