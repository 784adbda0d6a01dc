"""A model and who may ask it: one request more at a time than there are CPUs, or batches on CUDA."""

import threading
import time

import loky

from service.batcher import Answer, Batcher
from service.errors import Late
from service.model import Model
from service.photo import Pixels

LARGEST_BATCH = 32  # on CUDA; a CPU takes as long for two photos as for one and one again


class Inference:
    """Asks one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._batcher = Batcher(model, LARGEST_BATCH) if model.device == "cuda" else None
        # One more than CPUs, so that none idles while a thread with its answer waits for the interpreter.
        self._turns = threading.BoundedSemaphore(loky.cpu_count() + 1)

    def answer(self, pixels: Pixels, until: float) -> Answer:
        """Answer one square, uint8 [S, S, 3], before a moment of `time.monotonic`; raises Late."""
        if self._batcher:
            future = self._batcher.submit(pixels)
            try:
                return future.result(max(0, until - time.monotonic()))
            except TimeoutError as error:
                future.cancel()
                raise Late from error
        since = time.perf_counter()
        if not self._turns.acquire(timeout=max(0, until - time.monotonic())):
            raise Late
        try:
            started = time.perf_counter()
            ((probability, heatmap, familiarity),) = self._model.run(pixels[None]).each()
            inferred = time.perf_counter() - started
        finally:
            self._turns.release()
        return Answer(probability, heatmap, familiarity, started - since, inferred, 1)
