"""How one gunicorn process treats its connections: who sends nothing, slowly or in vain holds up nobody else."""

import contextlib
import selectors
import socket
import time
from concurrent.futures import Future
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker

if TYPE_CHECKING:  # else gunicorn would import ONNX Runtime before it forks
    from service.pipeline import Pipeline

RECEIVE_SECONDS = 60  # a 12-megapixel photo of 4 MB by a phone's half a megabit a second
LINGER_SECONDS = 10
CROWD = 4  # photos under way in one process; a client that finds so many may find fewer elsewhere
REFUSE = "SEEFOOD-REFUSE"  # the header by which the application learns that a body will not be read
_SCRATCH = bytearray(1 << 20)  # what is thrown away


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, but that no connection holds a thread before its first byte, or any for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiving: dict[TConn, float] = {}

    def accept(self, listener: socket.socket) -> None:
        """Let workers with less to do go first: a connection stays where it is accepted."""
        if not self._pipeline.full:
            time.sleep(self._pipeline.under_way * 0.00025)
        super().accept(listener)

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
        """Answer one request of a connection; where it is the last, close it here, and not in the worker's one loop."""
        self._receiving[conn] = time.monotonic() + RECEIVE_SECONDS
        try:
            going_on = super().handle(conn)
        finally:
            self._receiving.pop(conn, None)
        if not going_on and going_on is not _DEFER:
            _close(conn.sock)
        return going_on

    def handle_request(self, req: Request, conn: TConn) -> Any:
        """Announce the end of a connection whose body will not be read, or whose client may fare better elsewhere."""
        headers = dict(req.headers)
        length = int(headers.get("CONTENT-LENGTH", 0))
        refused = req.method == "POST" and self._pipeline.full
        req.headers = [header for header in req.headers if header[0] != REFUSE] + [(REFUSE, "1")] * refused
        too_large = "TRANSFER-ENCODING" in headers or length > self.wsgi.config["MAX_CONTENT_LENGTH"]
        if refused or too_large or self._pipeline.under_way > CROWD:
            req.force_close()
        elif length:
            req.body = _Body(req.body.reader.unreader, length)
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Read on to where the next request begins, as was announced; gunicorn's own gives up after 64 KiB."""
        return keepalive and bool(conn.parser.finish_body())

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Forget a connection that its thread has closed, or go on with it."""
        if conn.sock.fileno() < 0:
            self.nr_conns -= 1
        else:
            super().finish_request(conn, fs)

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

    @property
    def _pipeline(self) -> "Pipeline":
        pipeline: Pipeline = self.wsgi.extensions["pipeline"]
        return pipeline

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # or connections that never send a byte would hold up the stop
            conn.timeout = min(conn.timeout, deadline)


class _Body:
    """A request's body of known length, received where it is needed: gunicorn's own copies a photo six times."""

    def __init__(self, unreader: SocketUnreader, length: int) -> None:
        self._unreader, self._left = unreader, length

    def read(self, size: int | None = None) -> bytes:
        """Return so many bytes, or all there are; fewer where the client stops sending."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        buffer = bytearray(wanted)
        ahead = self._unreader.take_buffered()
        self._unreader.unread(ahead[wanted:])
        received = min(len(ahead), wanted)
        buffer[:received] = ahead[:received]
        with memoryview(buffer) as view:
            while received < wanted and (count := self._unreader.sock.recv_into(view[received:])):
                received += count
        self._left -= received
        return bytes(buffer[:received])


def _close(sock: socket.socket) -> None:
    """Close after the client has: one that still sends would else see a reset and not the answer (RFC 9112, 9.6)."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(2)
        end = time.monotonic() + LINGER_SECONDS
        # Linux throws away what MSG_TRUNC asks for without copying it; elsewhere it lands in the scratch.
        while sock.recv_into(_SCRATCH, 0, socket.MSG_TRUNC) and time.monotonic() < end:
            pass
    sock.close()
