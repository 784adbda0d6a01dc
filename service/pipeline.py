"""The way of a photo through one process: bounded in number, decoded by few threads, answered in batches, in time."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from service import metrics
from service.batcher import Answer, Batcher
from service.errors import Full
from service.model import Model
from service.photo import PhotoError, Pixels


class Late(Exception):
    """The deadline passed before every photo was answered."""


@dataclass(frozen=True)
class Done:
    """One photo's answer, and where its time went, in seconds."""

    answer: Answer
    waited: float
    decoded: float


class Pipeline:
    """At most `places` photos are under way at a time; `decoders` threads read them, and one batcher asks the model."""

    def __init__(self, model: Model, *, places: int, decoders: int, largest_batch: int) -> None:
        self.places = places
        self.under_way = 0
        self._model = model
        self._lock = threading.Lock()
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="decoder")
        self._batcher = Batcher(model, largest_batch)

    @property
    def full(self) -> bool:
        """Whether the next photo would be refused."""
        return self.under_way >= self.places

    def answer(self, reads: Sequence[Callable[[], Pixels]], within: float) -> list[Done | PhotoError]:
        """Read and answer photos, in their order; a photo that can't be read is its error.

        Args:
            reads: what makes each photo's pixels, uint8 [S, S, 3]; raises PhotoError where it can't.
            within: seconds in which all of them are to be answered.

        Raises:
            Full: there are not enough places; nothing was read.
            Late: the deadline passed; what had not begun never will.
        """
        with self._admitted(len(reads)):
            submitted = time.perf_counter()
            deadline = time.monotonic() + within
            reading = [self._decoders.submit(self._read, read, submitted) for read in reads]
            try:
                done = [_await(future, deadline) for future in reading]
            except TimeoutError as error:
                for future in reading:
                    _give_up(future)
                raise Late from error
        for one in done:
            if isinstance(one, Done):
                verdict = self._model.verdict(one.answer.probability, one.answer.familiarity)
                metrics.count_photo(verdict, one.answer, waited=one.waited, decoded=one.decoded)
        return done

    def close(self) -> None:
        """Answer what is under way, then end the threads."""
        self._decoders.shutdown()
        self._batcher.close()

    @contextmanager
    def _admitted(self, count: int) -> Iterator[None]:
        with self._lock:
            if self.under_way + count > self.places:
                raise Full
            self.under_way += count
            metrics.under_way.inc(count)
        try:
            yield
        finally:
            with self._lock:
                self.under_way -= count
                metrics.under_way.dec(count)

    def _read(self, read: Callable[[], Pixels], submitted: float) -> "_Reading":
        started = time.perf_counter()
        pixels = read()
        decoded = time.perf_counter() - started
        (future,) = self._batcher.submit([pixels])
        return _Reading(future, started - submitted, decoded)


@dataclass(frozen=True)
class _Reading:
    future: "Future[Answer]"
    waited: float
    decoded: float


def _await(future: "Future[_Reading]", deadline: float) -> Done | PhotoError:
    try:
        reading = future.result(deadline - time.monotonic())
    except PhotoError as error:
        return error
    answer = reading.future.result(deadline - time.monotonic())
    return Done(answer, reading.waited + answer.queued, reading.decoded)


def _give_up(future: "Future[_Reading]") -> None:
    if not future.cancel() and future.done() and not future.exception():
        future.result().future.cancel()
