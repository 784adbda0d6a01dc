"""Decodes untrusted photos in separate processes with limits on memory and time."""

import os
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import TIMEOUT_MAX
from typing import Generic

from service import decoder
from service.decoder import DECODE_MEMORY, DECODE_SECONDS, Photo
from service.decoder_pool import DecoderPool, DecodeTimeout, Function, T
from service.photo import MAX_BYTES, MAX_PIXELS, PhotoTooCostly, Pixels, UndecodablePhoto
from service.stored_photo import PreparedPhoto

# Bytes of memory, enough for JPEG of any size (progressive: 39 megapixels), PNG of 30 megapixels and HEIC of 13.
SMALL_MEMORY = 120_000_000
_PIPE_SIZE = 1 << 16  # bytes; a larger photo would pass through a pipe in several pieces
_MAX_CRASHES = 3  # decoder processes that end while they decode a photo, before the photo is refused


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """The result for one photo, the seconds that it waited for a decoder, and the seconds of decoding."""

    value: T
    queue_seconds: float
    decode_seconds: float


class Decoders:
    """`count` decoder processes with little memory, and one for large photos. Every method is thread-safe.

    Most photos need little memory. A photo that needs more than SMALL_MEMORY is decoded again in the process that has
    all of `memory`, one photo at a time, so that the total memory of all processes stays small.

    Attributes:
        count: number of photos that are decoded at a time.
    """

    def __init__(
        self,
        count: int,
        memory: int = DECODE_MEMORY,
        seconds: float = DECODE_SECONDS,
        max_bytes: int = MAX_BYTES,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Start the processes; `memory` is in bytes, in addition to what an idle process uses."""
        self.count = count
        self._limits = max_bytes, max_pixels
        self._small = DecoderPool(count, min(memory, SMALL_MEMORY), seconds)
        self._large = DecoderPool(1, memory, seconds)

    def square(self, data: bytes, size: int, deadline: float = TIMEOUT_MAX) -> Decoded[Pixels]:
        """Return a photo as a model's input, uint8 [size, size, 3], RGB.

        Raises:
            PhotoError: the photo can't be used.
            DeadlineExceeded: the deadline, a time of `time.monotonic`, passed.
        """
        return self._decode(deadline, decoder.to_square, data, size)

    def grey(self, data: bytes, at_least: int, deadline: float = TIMEOUT_MAX) -> Decoded[Pixels]:
        """Return grey levels, uint8 [height, width], no side reduced below `at_least`; raises as `square` does."""
        return self._decode(deadline, decoder.to_grey, data, at_least)

    def prepare(self, data: bytes, size: int, deadline: float = TIMEOUT_MAX) -> Decoded[PreparedPhoto]:
        """Return what the inbox needs of a photo, for a model with inputs of this size; raises as `square` does."""
        return self._decode(deadline, decoder.to_prepared, data, size)

    def warm_up(self) -> None:
        """Wait until every process has started."""
        self._small.warm_up()
        self._large.warm_up()

    def close(self) -> None:
        """Wait for photos that are being decoded, then end the processes."""
        self._small.close()
        self._large.close()

    def _decode(self, deadline: float, function: Function[T], data: bytes, size: int) -> Decoded[T]:
        since = time.perf_counter()
        with _in_shared_memory(data) as photo:
            try:
                value, seconds = self._run(deadline, function, photo, size)
            except OSError:  # this system does not let a process read the memory of another
                value, seconds = self._run(deadline, function, data, size)
        return Decoded(value, time.perf_counter() - since - seconds, seconds)

    def _run(self, deadline: float, function: Function[T], photo: Photo, size: int) -> tuple[T, float]:
        pool, crashes = self._small, 0
        while True:
            try:
                return pool.run(deadline, function, photo, size, *self._limits)
            except PhotoTooCostly as error:
                if pool is self._large or isinstance(error, DecodeTimeout):
                    raise
            except BrokenProcessPool as error:  # ended by the photo, by the kernel or by a user
                crashes += 1
                if crashes == _MAX_CRASHES:
                    sentence = (
                        f"The photo is damaged or takes too much memory: {crashes} decoder processes ended on it."
                    )
                    raise UndecodablePhoto(sentence) from error
            pool = self._large


@contextmanager
def _in_shared_memory(data: bytes) -> Iterator[Photo]:
    """Write a large photo to a memory file that a decoder can read, where the system supports it."""
    with ExitStack() as stack:
        photo: Photo = data
        if len(data) > _PIPE_SIZE:
            with suppress(OSError, AttributeError):  # the limit on open files is reached, or the system is not Linux
                file = stack.enter_context(os.fdopen(os.memfd_create("photo"), "wb", buffering=0))
                file.write(data)
                photo = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        yield photo
