"""Runs one model for many threads: with a concurrency limit on a CPU, in batches on CUDA."""

import contextlib
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import loky
import numpy as np

from service.errors import DeadlineExceeded
from service.model import Floats, Model, Verdict
from service.photo import Pixels

MAX_BATCH_SIZE = 32  # on CUDA; on a CPU a batch of two takes as long as two batches of one


@dataclass(frozen=True)
class Prediction:
    """The model's output for one photo.

    Attributes:
        probability: probability of the positive label, in [0, 1].
        heatmap: float32 [h, w], the evidence for the positive label in each cell.
        familiarity: similarity to the training photos, higher is more similar; None if the model has no such output.
        verdict: the decision by these outputs.
        queue_seconds: time from the request for the prediction to the start of its batch.
        inference_seconds: duration of its batch.
        batch_size: photos in its batch.
    """

    probability: float
    heatmap: Floats
    familiarity: float | None
    verdict: Verdict
    queue_seconds: float
    inference_seconds: float
    batch_size: int


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    since: float
    future: "Future[Prediction]"


class Inference:
    """The only way in which requests run a model.

    On CUDA, photos that arrive while the model is busy form the next batch. A batch never waits for more photos, so
    batching adds no latency when the service is idle.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        # One more than CPUs, so that no CPU is idle while a finished thread waits for the interpreter.
        self._slots = threading.BoundedSemaphore(loky.cpu_count() + 1)
        self._waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._batches = ThreadPoolExecutor(1, thread_name_prefix="batches")

    @property
    def is_saturated(self) -> bool:
        """Whether a further photo would have to wait."""
        if self._model.device == "cuda":
            return not self._waiting.empty()
        if is_free := self._slots.acquire(blocking=False):
            self._slots.release()
        return not is_free

    def predict(self, pixels: Pixels, deadline: float) -> Prediction:
        """Run one square, uint8 [S, S, 3]; raises DeadlineExceeded at `deadline`, a time of `time.monotonic`."""
        waiting = _Waiting(pixels, time.perf_counter(), Future())
        left = max(0, deadline - time.monotonic())
        if self._model.device == "cuda":
            self._waiting.put(waiting)
            self._batches.submit(self._run_batch)
            try:
                return waiting.future.result(left)
            except TimeoutError as error:
                waiting.future.cancel()  # a photo that is cancelled before its batch starts costs no inference
                raise DeadlineExceeded from error
        if not self._slots.acquire(timeout=left):
            raise DeadlineExceeded
        try:
            return self._run([waiting])[0]
        finally:
            self._slots.release()

    def _run(self, batch: list[_Waiting]) -> list[Prediction]:
        started = time.perf_counter()
        outputs = self._model.run(np.stack([each.pixels for each in batch])).each()
        seconds = time.perf_counter() - started
        return [
            Prediction(
                probability,
                heatmap,
                familiarity,
                self._model.verdict(probability, familiarity),
                started - each.since,
                seconds,
                len(batch),
            )
            for each, (probability, heatmap, familiarity) in zip(batch, outputs, strict=True)
        ]

    def _run_batch(self) -> None:
        batch: list[_Waiting] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_BATCH_SIZE:
                waiting = self._waiting.get_nowait()
                if waiting.future.set_running_or_notify_cancel():
                    batch.append(waiting)
        try:
            for each, prediction in zip(batch, self._run(batch) if batch else [], strict=True):
                each.future.set_result(prediction)
        except Exception as error:  # noqa: BLE001 - every error must reach the waiting threads
            for each in batch:
                each.future.set_exception(error)
