"""Admission control: limits the photos and the body bytes in flight; requests over a limit are refused unread."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from service import metrics
from service.errors import Overloaded

MAX_BODY_BYTES = 100_000_000  # of all request bodies in flight: about twenty photos of 12 megapixels


class Admission:
    """Counts the photos and the body bytes in flight in this process.

    Attributes:
        max_in_flight: limit on the number of photos in flight.
    """

    def __init__(self, max_in_flight: int, max_body_bytes: int) -> None:
        self.max_in_flight = max_in_flight
        self._max_body_bytes = max_body_bytes
        self._photos = self._bytes = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def admitted(self, body_bytes: int) -> Iterator[Callable[[int], None]]:
        """Reserve one photo and the bytes of a request body until the block ends.

        Yields a function that reserves further photos for the same block. Both raise Overloaded at a limit.
        """
        reserved = 0

        def reserve(photos: int) -> None:
            nonlocal reserved
            self._change(photos, 0)
            reserved += photos

        self._change(1, body_bytes)
        try:
            yield reserve
        finally:
            self._change(-1 - reserved, -body_bytes)

    def _change(self, photos: int, body_bytes: int) -> None:
        with self._lock:
            new_photos, new_bytes = self._photos + photos, self._bytes + body_bytes
            too_many_photos = photos > 0 and new_photos > self.max_in_flight
            if too_many_photos or (body_bytes > 0 and new_bytes > self._max_body_bytes):
                raise Overloaded
            self._photos, self._bytes = new_photos, new_bytes
        metrics.in_flight.inc(photos)
