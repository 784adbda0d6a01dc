"""Admission control: limits the photos and the body bytes in flight; requests over a limit are refused unread."""

import contextlib
import threading
from collections.abc import Iterator

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
    def reserved(self, photos: int, body_bytes: int = 0) -> Iterator[None]:
        """Reserve photos and the bytes of a request body until the block ends; raises Overloaded at a limit."""
        with self._lock:
            new_photos, new_bytes = self._photos + photos, self._bytes + body_bytes
            if new_photos > self.max_in_flight or new_bytes > self._max_body_bytes:
                raise Overloaded
            self._photos, self._bytes = new_photos, new_bytes
        metrics.in_flight.inc(photos)
        try:
            yield
        finally:
            with self._lock:
                self._photos -= photos
                self._bytes -= body_bytes
            metrics.in_flight.dec(photos)
