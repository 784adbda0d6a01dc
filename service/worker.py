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
from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker

from service.body import BODIES, Body, Chunks, Held, throw_away

if TYPE_CHECKING:  # else gunicorn would import ONNX Runtime before it forks
    from service.pipeline import Pipeline

RECEIVE_SECONDS = 60  # a 12-megapixel photo of 4 MB by a phone's half a megabit a second
LINGER_SECONDS = 10
REFUSE = "SEEFOOD-REFUSE"  # the header by which the application learns that a body will not be read


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, but that no connection holds a thread before its first byte, or any for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offered: tuple[socket.socket, socket.socket] | None = None  # both ends of what all workers share
        self._in_progress = 0
        self._held = Held()
        self._receiving: dict[TConn, float] = {}

    def run(self) -> None:
        """Serve until told to stop, the connections that other workers offer included."""
        if self.offered:
            self.poller.register(self.offered[1], selectors.EVENT_READ, self._take)
        super().run()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Close the door on a stop, so that who comes now is refused at once, and can go elsewhere."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                listener.close()
            if self.offered:  # what this worker offered may have been meant for itself alone
                self.poller.unregister(self.offered[1])
                while self._take(self.offered[1]):
                    pass

    def enqueue_req(self, conn: TConn) -> None:
        """Let a new connection wait for its first byte where it costs no thread, and a request where it is soonest."""
        if not (conn.initialized or conn.data_ready):
            conn.sock.setblocking(False)
            conn.set_timeout()
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
        elif not self._offer(conn):
            self._begin(conn)

    def _begin(self, conn: TConn) -> None:
        self._in_progress += 1
        super().enqueue_req(conn)

    def _offer(self, conn: TConn) -> bool:
        """Pass a connection with a request to whichever worker is freest, this one maybe; say whether it is gone."""
        read_ahead = conn.initialized and conn.parser.unreader.buf.getvalue()
        if not self._in_progress or not self.offered or not self.alive or self._pipeline.full or read_ahead:
            return False
        try:
            socket.send_fds(self.offered[0], [b"1"], [conn.sock.fileno()])
        except OSError:  # as many are on offer as can be
            return False
        self.nr_conns -= 1
        conn.sock.close()
        return True

    def _take(self, offered: socket.socket) -> bool:
        """Take a connection on offer, after those workers that have less to do; say whether there was one."""
        time.sleep(min(self._in_progress, 8) * 0.00025)  # and not for each of many that send slowly
        try:
            _, descriptors, _, _ = socket.recv_fds(offered, 1, 1)
        except BlockingIOError:
            return False
        for sock in (socket.socket(fileno=descriptor) for descriptor in descriptors):
            with contextlib.suppress(OSError):  # its client is gone already
                conn = TConn(self.cfg, sock, sock.getpeername(), sock.getsockname())
                conn.data_ready = True
                self.nr_conns += 1
                self._begin(conn)
        return True

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
        """Announce the end of a connection where its next request can't be found, or is long in coming."""
        headers = dict(req.headers)
        length, largest = int(headers.get("CONTENT-LENGTH", 0)), self.wsgi.config["MAX_CONTENT_LENGTH"]
        refused = req.method == "POST" and self._pipeline.full
        req.headers = [header for header in req.headers if header[0] != REFUSE] + [(REFUSE, "1")] * refused
        with self._held.account(max(BODIES, 2 * largest)) as hold:
            if "TRANSFER-ENCODING" in headers:
                req.force_close()
                req.body = Chunks(req.body, hold)
            elif length > largest:
                req.force_close()
            elif length:
                req.body = Body(req.body.reader.unreader, length, hold)
            return super().handle_request(req, conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Read on to where the next request begins, as was announced; gunicorn's own gives up after 64 KiB."""
        body = conn.parser.mesg.body
        return keepalive and (body.skip() if isinstance(body, Body) else bool(conn.parser.finish_body()))

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Forget a connection that its thread has closed, or go on with it."""
        self._in_progress -= 1
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


def _close(sock: socket.socket) -> None:
    """Close after the client has: one that still sends would else see a reset and not the answer (RFC 9112, 9.6)."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(2)
        end = time.monotonic() + LINGER_SECONDS
        while throw_away(sock) and time.monotonic() < end:
            pass
    sock.close()
