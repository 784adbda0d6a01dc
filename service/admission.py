"""What may be under way at a time: so many photos and so many bytes of bodies. The rest is refused unread."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from service import metrics
from service.errors import Full

BODIES = 100_000_000  # bytes of bodies that are held: twenty photos of 12 megapixels, say, and few of 50


class Admission:
    """Counts what is under way in this process.

    Attributes:
        places: photos that may be under way.
    """

    def __init__(self, places: int, most_bytes: int) -> None:
        self.places = places
        self._most_bytes = most_bytes
        self._photos = self._bytes = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def admitted(self, length: int) -> Iterator[Callable[[int], None]]:
        """Take a place for one photo, and room for a body of so many bytes, until the block ends.

        Gives what takes places for so many photos more. Both raise Full where there is no place or no room.
        """
        taken = 0

        def take(photos: int) -> None:
            nonlocal taken
            self._take(photos, 0)
            taken += photos

        self._take(1, length)
        try:
            yield take
        finally:
            self._take(-1 - taken, -length)

    def _take(self, photos: int, length: int) -> None:
        with self._lock:
            photos_then, bytes_then = self._photos + photos, self._bytes + length
            if (photos > 0 and photos_then > self.places) or (length > 0 and bytes_then > self._most_bytes):
                raise Full
            self._photos, self._bytes = photos_then, bytes_then
        metrics.under_way.inc(photos)
