"""Untrusted bytes become pixels in other processes, where they can harm nobody, within bounds of memory and time."""

import os
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import TIMEOUT_MAX
from typing import Generic

from service import decoder
from service.decoder import MEMORY, SECONDS, Photo
from service.decoder_pool import DecoderPool, Function, T, TooSlow
from service.photo import MAX_BYTES, MAX_PIXELS, PhotoTooCostly, Pixels, UndecodablePhoto

SMALL = 120_000_000  # bytes: of JPEG 39 megapixels if progressive and any number if not, of HEIC 13, of PNG 30
_PIPE = 1 << 16  # bytes that a pipe holds; more of them go through it in turns
_ENDED = 3  # decoders that a photo may end before it is to blame


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """What was made of a photo; the seconds that it waited for a decoder, and that it took."""

    value: T
    waited: float
    took: float


class Decoders:
    """So many processes, each of which decodes a photo at a time, and one for large photos; one that ends is replaced.

    Most photos take little memory. One that takes more than SMALL is decoded again where it may have all of `memory`,
    one photo at a time, so that all processes together stay small. Any number of threads may ask.

    Attributes:
        count: photos that are decoded at a time.
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
        self.count = count
        self._limits = max_bytes, max_pixels
        self._usual, self._large = DecoderPool(count, min(memory, SMALL), seconds), DecoderPool(1, memory, seconds)

    def square(self, data: bytes, size: int, until: float = TIMEOUT_MAX) -> Decoded[Pixels]:
        """Return a photo as a model's input, uint8 [size, size, 3], RGB, before a moment of `time.monotonic`.

        Raises:
            PhotoError: the photo can't be used.
            Late: the moment has come.
        """
        return self._decode(until, decoder.to_square, data, size)

    def grey(self, data: bytes, at_least: int, until: float = TIMEOUT_MAX) -> Decoded[Pixels]:
        """Return a photo's grey levels, uint8 [height, width], no side reduced below at_least; raises as `square`."""
        return self._decode(until, decoder.to_grey, data, at_least)

    def suffix(self, data: bytes, size: int, until: float = TIMEOUT_MAX) -> Decoded[str]:
        """Return the suffix for the format of a photo that can be decoded; raises as `square` does."""
        return self._decode(until, decoder.to_suffix, data, size)

    def warm_up(self) -> None:
        """Wait until every process has started."""
        self._usual.warm_up()
        self._large.warm_up()

    def close(self) -> None:
        """End the processes, once those that decode have ended."""
        self._usual.close()
        self._large.close()

    def _decode(self, until: float, function: Function[T], data: bytes, size: int) -> Decoded[T]:
        since = time.perf_counter()
        with _shared(data) as photo:
            try:
                value, took = self._run(until, function, photo, size)
            except OSError:  # the system lets nobody read the memory of another process
                value, took = self._run(until, function, data, size)
        return Decoded(value, time.perf_counter() - since - took, took)

    def _run(self, until: float, function: Function[T], photo: Photo, size: int) -> tuple[T, float]:
        pool, ended = self._usual, 0
        while True:
            try:
                return pool.run(until, function, photo, size, *self._limits)
            except PhotoTooCostly as error:
                if pool is self._large or isinstance(error, TooSlow):
                    raise
            except BrokenProcessPool as error:  # by the photo, the kernel or a person
                ended += 1
                if ended == _ENDED:
                    sentence = f"The photo is damaged, or takes too much: it has ended {_ENDED} decoders."
                    raise UndecodablePhoto(sentence) from error
            pool = self._large


@contextmanager
def _shared(data: bytes) -> Iterator[Photo]:
    """Put a photo where a decoder reads it at once, where the system can do that."""
    with ExitStack() as stack:
        photo: Photo = data
        if len(data) > _PIPE:
            with suppress(OSError, AttributeError):  # no more open files, or no Linux
                file = stack.enter_context(os.fdopen(os.memfd_create("photo"), "wb", buffering=0))
                file.write(data)
                photo = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        yield photo
