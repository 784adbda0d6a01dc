"""Processes that decode a photo at a time, each of which is ended and replaced where a photo takes too long."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from loky import ProcessPoolExecutor

from service import decoder
from service.errors import Late
from service.photo import PhotoTooCostly

_STARTS = 5  # attempts
T = TypeVar("T")
Function = Callable[[decoder.Photo, int, int, int], tuple[T, float]]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["service.decoder"])


class TooSlow(PhotoTooCostly):
    """Decoding takes longer than it may, whatever memory it has."""


class DecoderPool:
    """So many decoders, each with a thread; photos that wait are decoded in the order of their coming."""

    def __init__(self, count: int, memory: int, seconds: float) -> None:
        self._idle = [_Decoder(memory, seconds) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoder")

    def run(self, until: float, function: Function[T], *arguments: object) -> tuple[T, float]:
        """Return what a function makes of a photo, before a moment of `time.monotonic`.

        Raises:
            PhotoError: the function does, or it takes too long, and then its process has been replaced.
            BrokenProcessPool: the process has ended meanwhile, and has been replaced.
            Late: the moment has come; a process that had begun has been replaced.
        """
        future = self._threads.submit(self._run, until, function, *arguments)
        try:
            return future.result(max(0, until - time.monotonic()))
        except TimeoutError as error:
            future.cancel()
            raise Late from error

    def warm_up(self) -> None:
        """Wait until every process has started."""
        for process in self._idle:
            process.started.result()

    def close(self) -> None:
        """End the processes, once those that decode have ended."""
        self._threads.shutdown(cancel_futures=True)
        for process in self._idle:
            process.end()

    def _run(self, until: float, function: Function[T], *arguments: object) -> tuple[T, float]:
        process = self._idle.pop()  # there is one, as there are no more threads than processes
        try:
            return process.run(until, function, *arguments)
        finally:
            self._idle.append(process)


class _Decoder:
    """One process, and its successors; used by one thread at a time."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._start()

    def run(self, until: float, function: Function[T], *arguments: object) -> tuple[T, float]:
        if (left := until - time.monotonic()) <= 0:
            raise Late
        try:
            self.started.result(left)  # whose seconds are not the photo's
            future = self._executor.submit(function, *arguments)
        except TimeoutError as error:
            raise Late from error
        except BrokenProcessPool:  # somebody has ended it while it was idle
            self._start()
            future = self._executor.submit(function, *arguments)
        try:
            result: tuple[T, float] = future.result(min(left, self._seconds))
        except TimeoutError as error:
            self.end()
            self._start()
            if left < self._seconds:
                raise Late from error
            sentence = f"The photo takes more than {self._seconds} seconds to decode; send a smaller or simpler one."
            raise TooSlow(sentence) from error
        except BrokenProcessPool:
            self._start()
            raise
        return result

    def end(self) -> None:
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
