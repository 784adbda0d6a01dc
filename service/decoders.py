"""Decoder processes: photos are decoded where they can harm nobody, within bounds of memory and time."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import TIMEOUT_MAX
from typing import Generic, TypeVar

from loky import ProcessPoolExecutor

from service import decoder
from service.decoder import MEMORY, SECONDS
from service.errors import Late
from service.photo import MAX_BYTES, MAX_PIXELS, PhotoTooCostly, Pixels, UndecodablePhoto

SMALL = 120_000_000  # bytes: of JPEG 39 megapixels if progressive and any number if not, of HEIC 13, of PNG 30
_STARTS = 5  # attempts
_ENDED = 3  # decoders that a photo may end before it is to blame
T = TypeVar("T")
Function = Callable[[bytes, int, int, int], tuple[T, float]]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["service.decoder"])


class _TooSlow(PhotoTooCostly):
    """Decoding takes longer than it may, whatever memory it has."""


class _Process:
    """One decoder, and its successors; used by one thread at a time."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._start()

    def run(self, function: Function[T], *arguments: object) -> tuple[T, float]:
        """Return what a function makes of a photo.

        Raises:
            PhotoError: the function does, or it takes too long, and then its process has been replaced.
            BrokenProcessPool: the process has ended meanwhile, and has been replaced.
        """
        try:
            future = self._executor.submit(function, *arguments)
        except BrokenProcessPool:  # somebody has ended it while it was idle
            self._start()
            future = self._executor.submit(function, *arguments)
        try:
            result: tuple[T, float] = future.result(self._seconds)
        except TimeoutError as error:
            self.end()
            self._start()
            sentence = f"The photo takes more than {self._seconds} seconds to decode; send a smaller or simpler one."
            raise _TooSlow(sentence) from error
        except BrokenProcessPool:
            self._start()
            raise
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        self._executor.shutdown(kill_workers=True)

    def _start(self) -> None:
        for left in range(_STARTS - 1, -1, -1):
            self._executor = ProcessPoolExecutor(
                1, context=_context, initializer=decoder.confine, initargs=(self._memory,)
            )
            try:
                self.started: Future[int] = self._executor.submit(os.getpid)  # or the first photo would start it
                return
            except OSError:  # the process that starts decoders has been ended too, and is about to be replaced
                if not left:
                    raise
                time.sleep(0.1)


class _Lane:
    """So many decoders with as many threads, which take photos in the order of their coming."""

    def __init__(self, count: int, memory: int, seconds: float) -> None:
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(count):
            self._idle.put(_Process(memory, seconds))
        self._count, self._threads = count, ThreadPoolExecutor(count, thread_name_prefix="decoder")

    def submit(self, function: Function[T], *arguments: object) -> "Future[tuple[T, float]]":
        return self._threads.submit(self._run, function, *arguments)

    def warm_up(self) -> None:
        for process in [self._idle.get() for _ in range(self._count)]:
            process.started.result()
            self._idle.put(process)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        for _ in range(self._count):
            self._idle.get().end()

    def _run(self, function: Function[T], *arguments: object) -> tuple[T, float]:
        process = self._idle.get()
        try:
            return process.run(function, *arguments)
        finally:
            self._idle.put(process)


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """What was made of a photo; the seconds that it waited for a decoder, and that it took."""

    value: T
    waited: float
    took: float


class Decoding(Generic[T]):
    """One photo under way."""

    def __init__(self, lane: _Lane, large: _Lane, function: Function[T], *arguments: object) -> None:
        self._again = partial(large.submit, function, *arguments)
        self._is_last = False  # where it may have all of the memory
        self._since = time.perf_counter()
        self._future = lane.submit(function, *arguments)

    def result(self, until: float = TIMEOUT_MAX) -> Decoded[T]:
        """Wait for it until a moment of `time.monotonic`, or for as long as it takes.

        Raises:
            PhotoError: the photo can't be used.
            Late: the moment has come.
        """
        ended = 0
        while True:
            try:
                return self._wait(until)
            except PhotoTooCostly as error:
                if self._is_last or isinstance(error, _TooSlow):
                    raise
            except BrokenProcessPool as error:  # by the photo, the kernel or a person
                ended += 1
                if ended == _ENDED:
                    sentence = f"The photo is damaged, or takes too much: it has ended {_ENDED} decoders."
                    raise UndecodablePhoto(sentence) from error
            self._future, self._is_last = self._again(), True

    def cancel(self) -> None:
        """Forget a photo whose decoding has not begun; one that has begun ends soon by itself."""
        self._future.cancel()

    def _wait(self, until: float) -> Decoded[T]:
        try:
            value, took = self._future.result(min(TIMEOUT_MAX, max(0, until - time.monotonic())))
        except (TimeoutError, CancelledError) as error:
            self.cancel()
            raise Late from error
        return Decoded(value, time.perf_counter() - self._since - took, took)


class Decoders:
    """So many processes, each of which decodes a photo at a time, and one for large photos; one that ends is replaced.

    Most photos take little memory. One that takes more than SMALL is decoded again where it may have all of `memory`,
    one photo at a time, so that all processes together stay small.
    """

    def __init__(
        self,
        count: int,
        memory: int = MEMORY,
        seconds: float = SECONDS,
        max_bytes: int = MAX_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Start them; memory is in bytes, beyond what an idle one has."""
        self._limits = max_bytes, max_pixels
        self._usual, self._large = _Lane(count, min(memory, SMALL), seconds), _Lane(1, memory, seconds)

    def square(self, data: bytes, size: int) -> Decoding[Pixels]:
        """Queue a photo that is to be a model's input: uint8 [size, size, 3], RGB."""
        return Decoding(self._usual, self._large, decoder.to_square, data, size, *self._limits)

    def grey(self, data: bytes, at_least: int) -> Decoding[Pixels]:
        """Queue a photo of which the grey levels are wanted: uint8 [height, width], no side reduced below at_least."""
        return Decoding(self._usual, self._large, decoder.to_grey, data, at_least, *self._limits)

    def suffix(self, data: bytes, size: int) -> Decoding[str]:
        """Queue a photo that is to be kept as it is: the suffix of its format, once it has been decoded."""
        return Decoding(self._usual, self._large, decoder.to_suffix, data, size, *self._limits)

    def warm_up(self) -> None:
        """Wait until every process has started."""
        self._usual.warm_up()
        self._large.warm_up()

    def close(self) -> None:
        """End the processes, once those that decode have ended."""
        self._usual.close()
        self._large.close()
