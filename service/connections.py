"""The end of a request: its body is received, and a client that is to close, and does not, holds up nobody."""

import contextlib
import socket

from flask import Flask, Response, request

from service.uploads import throw_away_rest


def register(app: Flask) -> None:
    """Receive what is left of a body before the answer, and no more from a client that is to close after it.

    gunicorn's one loop would wait two seconds until the client does (RFC 9112, section 9.6), and accept nobody.
    """
    app.after_request(_hang_up)
    app.after_request(throw_away_rest)


def _hang_up(response: Response) -> Response:
    connection, options = request.environ.get("gunicorn.socket"), request.headers.get("Connection", "").lower()
    is_old = request.environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    if connection and ("close" in options or (is_old and "keep-alive" not in options)):
        response.call_on_close(lambda: _stop_receiving(connection))
    return response


def _stop_receiving(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is gone
        connection.shutdown(socket.SHUT_RD)
