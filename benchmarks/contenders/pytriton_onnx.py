"""NVIDIA Triton from PyTriton's wheel: its HTTP server and dynamic batching before Pillow and ONNX Runtime in Python.

The wheel has no ONNX Runtime backend. One header, Inference-Header-Content-Length: 0, makes a photo the whole body.
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

from benchmarks.contenders.preprocess import CPUS, decoded, onnx_session


def _instance() -> Callable[..., dict[str, NDArray[np.float32]]]:
    session = onnx_session(threads=1)

    @batch
    def infer(photo: NDArray[np.object_]) -> dict[str, NDArray[np.float32]]:
        images = np.stack([decoded(data) for data in photo[:, 0]])
        return {"probability": session.run(None, {"images": images})[0][:, None]}

    return infer


def main() -> None:
    """Serve until told to stop."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # PyTriton stops its server on an interrupt alone
    # Triton's Python is whatever libpython the loader finds, and the system's may be older than this one's library.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    # The other endpoints would take ports that nobody gave.
    config = TritonConfig(http_address="127.0.0.1", http_port=int(sys.argv[1]), allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="hotdog",
            infer_func=[_instance() for _ in range(CPUS)],
            # Of object, as a string of NumPy's own would lose the zeros that a photo may end with.
            inputs=[Tensor(name="photo", dtype=object, shape=(1,))],
            outputs=[Tensor(name="probability", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=8, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
