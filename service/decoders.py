"""Decodes untrusted photos in separate processes with limits on memory and time."""

import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from threading import TIMEOUT_MAX

from service import decoder
from service.decoder import DECODE_MEMORY, DECODE_SECONDS, Photo, T
from service.decoder_pool import DecoderPool, DecodeTimeout, Function
from service.photo import MAX_BYTES, MAX_PIXELS, PhotoTooCostly, Pixels, UndecodablePhoto, check_bytes, read_photo
from service.stored_photo import PreparedPhoto, prepare

# Bytes of memory, enough for JPEG of any size (progressive: 39 megapixels), PNG of 30 megapixels and HEIC of 13.
SMALL_MEMORY = 120_000_000
_PIPE_SIZE = 1 << 16  # bytes; a larger photo would pass through a pipe in several pieces
_MAX_CRASHES = 3  # decoder processes that end while they decode a photo, before the photo is refused


class DecoderCrash(UndecodablePhoto):
    """Several decoder processes ended on the photo, which is at fault, or the lack of memory of the machine."""


class Decoders:
    """`count` decoder processes with little memory, and one for large photos. Every method is thread-safe.

    Most photos need little memory. A photo that needs more than SMALL_MEMORY is decoded again in the process that has
    all of `memory`, one photo at a time, so that the total memory of all processes stays small.

    Attributes:
        count: number of photos that are decoded at a time, besides one large one.
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
        self._max_bytes, self._max_pixels = max_bytes, max_pixels
        self._small = DecoderPool(count, min(memory, SMALL_MEMORY), seconds)
        self._large = DecoderPool(1, memory, seconds)

    def square(self, data: bytes, size: int, deadline: float = TIMEOUT_MAX) -> tuple[Pixels, float]:
        """Return a photo as a model's input, uint8 [size, size, 3], RGB, and the seconds of decoding.

        Raises:
            PhotoError: the photo can't be used.
            DeadlineExceeded: the deadline, a time of `time.monotonic`, passed.
        """
        return self._decode(deadline, read_photo, data, size)

    def grey(self, data: bytes, at_least: int, deadline: float = TIMEOUT_MAX) -> tuple[Pixels, float]:
        """Return grey levels, uint8 [height, width], no side reduced below `at_least`; otherwise as `square`."""
        return self._decode(deadline, decoder.to_grey, data, at_least)

    def prepare(self, data: bytes, size: int, deadline: float = TIMEOUT_MAX) -> tuple[PreparedPhoto, float]:
        """Return what the inbox needs of a photo, for a model with inputs of this size; otherwise as `square`."""
        return self._decode(deadline, prepare, data, size)

    def warm_up(self) -> None:
        """Wait until every process has started."""
        self._small.warm_up()
        self._large.warm_up()

    def close(self) -> None:
        """Wait for photos that are being decoded, then end the processes."""
        self._small.close()
        self._large.close()

    def _decode(self, deadline: float, function: Function[T], data: bytes, size: int) -> tuple[T, float]:
        check_bytes(len(data), self._max_bytes)
        with _in_shared_memory(data) as photo:
            try:
                return self._run(deadline, function, photo, size)
            except OSError:  # this system does not let a process read the memory of another
                return self._run(deadline, function, data, size)

    def _run(self, deadline: float, function: Function[T], photo: Photo, size: int) -> tuple[T, float]:
        pool, crashes = self._small, 0
        while True:
            try:
                return pool.run(deadline, function, photo, size, self._max_pixels)
            except PhotoTooCostly as error:
                if pool is self._large or isinstance(error, DecodeTimeout):
                    raise
            except BrokenProcessPool as error:  # ended by the photo, by the kernel or by a user
                crashes += 1
                if crashes == _MAX_CRASHES:
                    sentence = (
                        f"The photo is damaged or takes too much memory: {crashes} decoder processes ended on it."
                    )
                    raise DecoderCrash(sentence) from error
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
