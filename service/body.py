"""How a request's body comes: counted, in one piece where its length is known, or not at all."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gunicorn.http.unreader import SocketUnreader

from service.errors import Full

BODIES = 100_000_000  # bytes of bodies that one process holds; twenty photos of 12 megapixels, say, and few of 50
_PIECE = 1 << 18  # bytes that are received, and counted, at a time
_SCRATCH = bytearray(1 << 20)  # what is thrown away


class Held:
    """How many bytes of bodies this process holds, those that are still received included."""

    def __init__(self) -> None:
        self._bytes, self._lock = 0, threading.Lock()

    @contextlib.contextmanager
    def account(self, most: int) -> Iterator[Callable[[int], None]]:
        """Return what counts the bytes of one request until it is answered, and raises Full where all hold too many."""
        taken = 0

        def hold(count: int) -> None:
            nonlocal taken
            with self._lock:
                if self._bytes + count > most:
                    raise Full
                self._bytes += count
                taken += count

        try:
            yield hold
        finally:
            with self._lock:
                self._bytes -= taken


class Chunks:
    """A request's body of unknown length, counted as it is received."""

    def __init__(self, body: Any, hold: Callable[[int], None]) -> None:
        self._body, self._hold = body, hold

    def read(self, size: int | None = None) -> bytes:
        """Return at most so many bytes; none at its end."""
        received: bytes = self._body.read(size)
        self._hold(len(received))
        return received


class Body:
    """A request's body of known length, received where it is needed: gunicorn's own copies a photo six times."""

    def __init__(self, unreader: SocketUnreader, length: int, hold: Callable[[int], None]) -> None:
        self._unreader, self._left, self._hold = unreader, length, hold

    def read(self, size: int | None = None) -> bytes:
        """Return so many bytes, or all there are; fewer where the client stops sending."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        ahead = self._read_ahead(wanted)
        # A buffer that hands out its bytes as they are: a bytearray would have to be copied, which costs as much again.
        buffer = io.BytesIO(ahead)
        received = len(ahead)
        if received < wanted:
            buffer.seek(wanted - 1)
            buffer.write(b"\0")
            with buffer.getbuffer() as view:
                while received < wanted and (count := self._receive(view[received : received + _PIECE])):
                    received += count
                    self._left -= count
                    self._hold(count)
            buffer.truncate(received)
        return buffer.getvalue()

    def _receive(self, view: memoryview) -> int:
        with view:  # or the buffer could not be handed out
            sock: socket.socket = self._unreader.sock
            return sock.recv_into(view, 0, socket.MSG_WAITALL)  # few calls, and few turns of the GIL

    def skip(self) -> bool:
        """Throw away what is left, and say whether all of it came."""
        self._read_ahead(self._left)
        while self._left and (count := throw_away(self._unreader.sock, self._left)):
            self._left -= count
        return not self._left

    def _read_ahead(self, most: int) -> bytes:
        """Return what gunicorn received with the headers."""
        ahead: bytes = self._unreader.take_buffered()
        self._unreader.unread(ahead[most:])
        self._left -= len(ahead[:most])
        return ahead[:most]


def throw_away(sock: socket.socket, most: int = len(_SCRATCH)) -> int:
    """Receive at most so many bytes and forget them; returns how many, 0 at the end."""
    # Linux does not even copy what MSG_TRUNC asks for; elsewhere it lands in the scratch.
    return sock.recv_into(_SCRATCH, min(most, len(_SCRATCH)), socket.MSG_TRUNC)
