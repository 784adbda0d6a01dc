"""Ray Serve with ONNX Runtime: one replica a CPU, each with one inference thread, the photo as the request's body."""

import asyncio
import sys

from ray import serve
from starlette.requests import Request

from benchmarks.contenders.preprocess import CPUS, decoded, onnx_session


@serve.deployment(num_replicas=CPUS, ray_actor_options={"num_cpus": 1})
class Hotdog:
    """One photo a request."""

    def __init__(self) -> None:
        self.session = onnx_session(threads=1)

    async def __call__(self, request: Request) -> dict[str, float]:
        """Answer one photo; the work goes to a thread, so that the replica's event loop stays free."""
        return await asyncio.to_thread(self._predict, await request.body())

    def _predict(self, data: bytes) -> dict[str, float]:
        return {"probability": float(self.session.run(None, {"images": decoded(data)[None]})[0][0])}


if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Hotdog.bind(), blocking=True)  # type: ignore[attr-defined]
