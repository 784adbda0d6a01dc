"""Runs one model for many threads: with a concurrency limit on a CPU, in batches on CUDA."""

import threading
import time

import loky

from service.batcher import Batcher, Prediction
from service.errors import DeadlineExceeded
from service.model import Model
from service.photo import Pixels

MAX_BATCH_SIZE = 32  # on CUDA; on a CPU a batch of two takes as long as two batches of one


class Inference:
    """The only way in which requests run a model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._batcher = Batcher(model, MAX_BATCH_SIZE) if model.device == "cuda" else None
        # One more than CPUs, so that no CPU is idle while a finished thread waits for the interpreter.
        self._slots = threading.BoundedSemaphore(loky.cpu_count() + 1)

    def predict(self, pixels: Pixels, deadline: float) -> Prediction:
        """Run one square, uint8 [S, S, 3]; raises DeadlineExceeded at `deadline`, a time of `time.monotonic`."""
        if self._batcher:
            future = self._batcher.submit(pixels)
            try:
                return future.result(max(0, deadline - time.monotonic()))
            except TimeoutError as error:
                future.cancel()
                raise DeadlineExceeded from error
        since = time.perf_counter()
        if not self._slots.acquire(timeout=max(0, deadline - time.monotonic())):
            raise DeadlineExceeded
        try:
            started = time.perf_counter()
            (output,) = self._model.run(pixels[None]).each()
            seconds = time.perf_counter() - started
        finally:
            self._slots.release()
        return Prediction(*output, started - since, seconds, 1)
