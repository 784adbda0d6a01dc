"""How one gunicorn process treats its connections: who sends nothing, or too slowly, holds up nobody else."""

import contextlib
import selectors
import socket
import time
from functools import partial
from types import FrameType
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

RECEIVE_SECONDS = 60  # a 12-megapixel photo of 4 MB by a phone's half a megabit a second


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, but that no connection holds a thread before its first byte or for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiving: dict[TConn, float] = {}

    def set_accept_enabled(self, enabled: bool) -> None:
        """Close the door on a stop, so that who comes now is refused at once, and can go elsewhere."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()

    def enqueue_req(self, conn: TConn) -> None:
        """Let a new connection wait for its first byte where it costs no thread."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock.setblocking(False)
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: TConn) -> Any:
        """Answer one request of a connection, and remember since when."""
        self._receiving[conn] = time.monotonic() + RECEIVE_SECONDS
        try:
            return super().handle(conn)
        finally:
            self._receiving.pop(conn, None)

    def murder_pending(self) -> None:
        """End the reading of what takes too long; a request that has arrived whole does not notice."""
        super().murder_pending()
        now = time.monotonic()
        for conn, by in tuple(self._receiving.items()):
            if by < now:
                with contextlib.suppress(OSError):  # the connection is gone already
                    conn.sock.shutdown(socket.SHUT_RD)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what is in flight on Ctrl-C, as on SIGTERM.

        gunicorn's own shuts its thread pool down from within the signal's handler, and so can wait for ever for the
        pool's lock, or find no pool yet while it boots.
        """
        self.handle_exit(sig, frame)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # or connections that never send a byte would hold up the stop
            conn.timeout = min(conn.timeout, deadline)
