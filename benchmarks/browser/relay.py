"""A relay between a browser and a service that counts bytes and limits their rate, as a mobile network does."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# "4G" of common browser tools: 9 Mbit/s down, 1.5 Mbit/s up, a round trip of 170 ms.
DOWN, UP, DELAY = 9e6 / 8, 1.5e6 / 8, 0.17 / 2
_CHUNK = 8192


@dataclass
class Relay:
    """A running relay.

    Attributes:
        port: it listens there, on loopback.
        received: bytes that the browser has received, HTTP headers included.
    """

    port: int = 0
    received: int = 0


class _Line:
    """One direction of the network, which all connections share."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate, self._free = bytes_per_second, 0.0

    async def carry(self, size: int) -> None:
        """Wait until so many bytes have arrived."""
        now = time.monotonic()
        self._free = max(self._free, now) + size / self._rate
        await asyncio.sleep(self._free - now)


@contextmanager
def relayed(port: int, *, throttled: bool) -> Iterator[Relay]:
    """Relay connections to a local port until the block ends; without `throttled` they are only counted."""
    relay, loop, ready = Relay(), asyncio.new_event_loop(), threading.Event()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, line: _Line, *, down: bool) -> None:
        arrivals: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await arrivals.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                relay.received += len(data) if down else 0
                target.write(data)
                await target.drain()
                if not data:
                    target.close()
                    return

        delivery = asyncio.create_task(deliver())
        try:
            while data := await source.read(_CHUNK):
                if throttled:
                    await line.carry(len(data))
                arrivals.put_nowait((time.monotonic() + (DELAY if throttled else 0), data))
        except ConnectionError:
            pass
        arrivals.put_nowait((0, b""))
        await asyncio.gather(delivery, return_exceptions=True)

    down, up = _Line(DOWN), _Line(UP)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served, to_service = await asyncio.open_connection("127.0.0.1", port)
        with suppress(asyncio.CancelledError):  # at the end; a connection may still be open
            await asyncio.gather(pump(reader, to_service, up, down=False), pump(served, writer, down, down=True))

    async def main() -> None:
        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await server.serve_forever()

    task = loop.create_task(main())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            for each in asyncio.all_tasks(loop):
                each.cancel()
            loop.run_until_complete(asyncio.sleep(0.1))
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
