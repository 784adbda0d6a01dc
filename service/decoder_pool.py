"""A pool of decoder processes; one that takes too long for a photo is killed and replaced."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from loky import ProcessPoolExecutor

from service import decoder
from service.decoder import T
from service.errors import DeadlineExceeded
from service.photo import PhotoTooCostly

_START_ATTEMPTS = 5
Function = Callable[[bytes, int, int], T]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["service.decoder"])


class DecodeTimeout(PhotoTooCostly):
    """Decoding takes longer than the limit; more memory would not help."""


class DecoderPool:
    """`count` decoder processes, each with a thread; waiting photos are decoded first in, first out."""

    def __init__(self, count: int, memory: int, seconds: float) -> None:
        """Start the processes with limits for each photo: bytes of memory, and seconds."""
        self._idle = [_Decoder(memory, seconds) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoder")

    def run(self, deadline: float, function: Function[T], *arguments: object) -> tuple[T, float]:
        """Call `decoder.run` in a process, until `deadline`, a time of `time.monotonic`.

        Raises:
            PhotoError: the function raises it, or it takes too long; then its process was replaced.
            BrokenProcessPool: the process ended while it ran the function, and was replaced.
            DeadlineExceeded: the deadline passed; a process that had started was replaced.
        """
        future = self._threads.submit(self._run, deadline, function, *arguments)
        try:
            return future.result(max(0, deadline - time.monotonic()))
        except TimeoutError as error:
            future.cancel()
            raise DeadlineExceeded from error

    def warm_up(self) -> None:
        """Wait until every process has started."""
        for process in self._idle:
            process.started.result()

    def close(self) -> None:
        """Wait for photos that are being decoded, then end the processes."""
        self._threads.shutdown(cancel_futures=True)
        for process in self._idle:
            process.kill()

    def _run(self, deadline: float, function: Function[T], *arguments: object) -> tuple[T, float]:
        process = self._idle.pop()  # never empty: there are as many threads as processes
        try:
            return process.run(deadline, function, *arguments)
        finally:
            self._idle.append(process)


class _Decoder:
    """One process, or the process that replaced it; one thread uses it at a time."""

    def __init__(self, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._start()

    def run(self, deadline: float, function: Function[T], *arguments: object) -> tuple[T, float]:
        try:
            future = self._submit(deadline, function, *arguments)
        except BrokenProcessPool:  # the process was killed while it was idle
            self._start()
            future = self._submit(deadline, function, *arguments)
        left = deadline - time.monotonic()
        try:
            result: tuple[T, float] = future.result(min(left, self._seconds))
        except TimeoutError as error:
            self.kill()
            self._start()
            if left < self._seconds:
                raise DeadlineExceeded from error
            sentence = f"The photo takes more than {self._seconds} seconds to decode; send a smaller or simpler one."
            raise DecodeTimeout(sentence) from error
        except BrokenProcessPool:
            self._start()
            raise
        return result

    def _submit(self, deadline: float, function: Function[T], *arguments: object) -> Future[tuple[T, float]]:
        if (left := deadline - time.monotonic()) <= 0:
            raise DeadlineExceeded
        try:
            self.started.result(left)  # the start of the process does not count as decoding time
        except TimeoutError as error:
            raise DeadlineExceeded from error
        future: Future[tuple[T, float]] = self._executor.submit(decoder.run, function, *arguments)
        return future

    def kill(self) -> None:
        self._executor.shutdown(kill_workers=True)

    def _start(self) -> None:
        for left in range(_START_ATTEMPTS - 1, -1, -1):
            self._executor = ProcessPoolExecutor(
                1, context=_context, initializer=decoder.apply_limits, initargs=(self._memory,)
            )
            try:
                # Start the process now, and not with the first photo.
                self.started: Future[int] = self._executor.submit(os.getpid)
                return
            except OSError:  # the fork server was killed too, and is about to be replaced
                if not left:
                    raise
                time.sleep(0.1)
