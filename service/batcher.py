"""Dynamic batching: photos that arrive while the model is busy form the next batch."""

import contextlib
import queue
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from service.model import Floats, Model
from service.photo import Pixels


@dataclass(frozen=True)
class Prediction:
    """The model's output for one photo.

    Attributes:
        probability: probability of the positive label, in [0, 1].
        heatmap: float32 [h, w], the evidence for the positive label in each cell.
        familiarity: similarity to the training photos, higher is more similar; None if the model has no such output.
        queue_seconds: time from the request for the prediction to the start of its batch.
        inference_seconds: duration of its batch.
        batch_size: photos in its batch.
    """

    probability: float
    heatmap: Floats
    familiarity: float | None
    queue_seconds: float
    inference_seconds: float
    batch_size: int


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    future: "Future[Prediction]"
    since: float


class Batcher:
    """One thread that runs all waiting photos, at most `max_batch_size`, as one batch.

    It never waits for a batch to fill, so batching adds no latency when the service is idle.
    """

    def __init__(self, model: Model, max_batch_size: int) -> None:
        self._model = model
        self._max_batch_size = max_batch_size
        self._waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batcher")

    def submit(self, pixels: Pixels) -> "Future[Prediction]":
        """Queue a square, uint8 [S, S, 3]; a future that is cancelled before its batch starts costs no inference."""
        waiting = _Waiting(pixels, Future(), time.perf_counter())
        self._waiting.put(waiting)
        self._thread.submit(self._run)
        return waiting.future

    def close(self) -> None:
        """Run what is still waiting, then end the thread."""
        self._thread.shutdown()

    def _run(self) -> None:
        while taken := self._take():
            batch = [each for each in taken if each.future.set_running_or_notify_cancel()]
            if batch:
                self._predict(batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._max_batch_size:
                batch.append(self._waiting.get_nowait())
        return batch

    def _predict(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            outputs = self._model.run(np.stack([each.pixels for each in batch])).each()
        except Exception as error:  # noqa: BLE001 - every error must reach the waiting threads
            for each in batch:
                each.future.set_exception(error)
            return
        seconds = time.perf_counter() - started
        for each, output in zip(batch, outputs, strict=True):
            each.future.set_result(Prediction(*output, started - each.since, seconds, len(batch)))
