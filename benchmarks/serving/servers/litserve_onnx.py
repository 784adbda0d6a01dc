"""LitServe with ONNX Runtime: one worker per CPU with one inference thread, a file in a form."""

import sys

import litserve as ls
import numpy as np
import numpy.typing as npt
from fastapi import Request
from PIL import Image

from benchmarks.serving.servers.preprocess import CPUS, normalised, onnx_session


class Hotdog(ls.LitAPI):
    """Decode, classify, encode."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe passes it by name
        """Open the network in a worker."""
        self.session = onnx_session(threads=1)

    def decode_request(self, request: Request) -> npt.NDArray[np.float32]:
        """Decode the file of the form to float32 [1, 3, 224, 224]."""
        return normalised(Image.open(request["content"].file))[None]

    def predict(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return P(hotdog) [1]."""
        return self.session.run(None, {"images": images})[0]

    def encode_response(self, output: npt.NDArray[np.float32]) -> dict[str, float]:
        """Return the body of the answer."""
        return {"probability": float(output[0])}


if __name__ == "__main__":
    server = ls.LitServer(Hotdog(), accelerator="cpu", workers_per_device=CPUS)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
