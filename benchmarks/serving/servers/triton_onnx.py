"""NVIDIA Triton from the PyTriton wheel: HTTP and dynamic batching by Triton, Pillow and ONNX Runtime in Python.

The wheel has no ONNX Runtime backend. With the header `Inference-Header-Content-Length: 0`, the body is the photo.
"""

import os
import signal
import sys
import sysconfig
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.serving.servers.preprocess import CPUS, decoded, onnx_session


def _instance() -> Callable[..., dict[str, NDArray[np.float32]]]:
    session = onnx_session(threads=1)

    @batch
    def infer(photo: NDArray[np.object_]) -> dict[str, NDArray[np.float32]]:
        images = np.stack([decoded(data) for data in photo[:, 0]])
        return {"probability": session.run(None, {"images": images})[0][:, None]}

    return infer


def main() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # PyTriton stops its server on SIGINT only
    # Triton loads libpython from this path; the system may have an older one.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    # The other endpoints would use fixed ports.
    config = TritonConfig(http_address="127.0.0.1", http_port=int(sys.argv[1]), allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="hotdog",
            infer_func=[_instance() for _ in range(CPUS)],
            # NumPy's bytes type would lose zeros at the end of a photo; object keeps them.
            inputs=[Tensor(name="photo", dtype=object, shape=(1,))],
            outputs=[Tensor(name="probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=8, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
