"""Photos that come while the model is busy leave together in the next batch; an idle model answers one at once."""

import contextlib
import queue
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from service.model import Floats, Model
from service.photo import Pixels


@dataclass(frozen=True)
class Answer:
    """What the model makes of one photo.

    Attributes:
        probability: P(positive) in [0, 1].
        heatmap: float32 [h, w], the evidence at each place.
        familiarity: higher the more the photo resembles those of training; None where the model can't tell.
        queued: seconds from `submit` to the start of its batch.
        inferred: seconds that its batch took.
        batch: photos in that batch.
    """

    probability: float
    heatmap: Floats
    familiarity: float | None
    queued: float
    inferred: float
    batch: int


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    future: "Future[Answer]"
    since: float


class Batcher:
    """One thread that takes what waits, at most `largest` photos, and runs it through the model as one batch.

    It never waits for a batch to fill, so that batching costs an idle service nothing.
    """

    def __init__(self, model: Model, largest: int) -> None:
        self._model = model
        self._largest = largest
        self._waiting: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batcher")

    def submit(self, pixels: Pixels) -> "Future[Answer]":
        """Queue a square, uint8 [S, S, 3]; a future that is cancelled in time costs no inference."""
        waiting = _Waiting(pixels, Future(), time.perf_counter())
        self._waiting.put(waiting)
        self._thread.submit(self._run)
        return waiting.future

    def close(self) -> None:
        """Answer what waits, then end the thread."""
        self._thread.shutdown()

    def _run(self) -> None:
        """Answer all that waits; a later turn may find nothing left to do."""
        while taken := self._take():
            batch = [one for one in taken if one.future.set_running_or_notify_cancel()]
            if batch:
                self._answer(batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._largest:
                batch.append(self._waiting.get_nowait())
        return batch

    def _answer(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            answers = self._model.run(np.stack([one.pixels for one in batch])).each()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for one in batch:
                one.future.set_exception(error)
            return
        seconds = time.perf_counter() - started
        for one, (probability, heatmap, familiarity) in zip(batch, answers, strict=True):
            answer = Answer(probability, heatmap, familiarity, started - one.since, seconds, len(batch))
            one.future.set_result(answer)
