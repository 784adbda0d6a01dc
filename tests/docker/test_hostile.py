"""A hostile client and a container with 1 GB: no process in it is killed, and memory use stays below 600 MB."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection

import pytest

from tests.docker.conftest import Note, docker, inspect
from tests.fixtures.bombs import BOMBS, WEBP
from tests.fixtures.load import until
from tests.fixtures.painting import RED_JPEG
from tests.fixtures.server import BOUNDARY, free_port, multipart

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

ENDLESS = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 26000000\r\n\r\n"
WORKERS = "print(open('/proc/1/task/1/children').read())"
MEASURE = """
import sys, threading, time
from pathlib import Path
one, two = Path("/sys/fs/cgroup/memory/memory.stat"), Path("/sys/fs/cgroup/memory.stat")  # of cgroup v1, of v2
path, names = (one, ("total_rss", "total_shmem")) if one.exists() else (two, ("anon", "shmem"))
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
most = 0
print("measuring", flush=True)
while not done.wait(0.01):
    fields = dict(line.split() for line in path.read_text().splitlines())
    most = max(most, sum(int(fields.get(name, 0)) for name in names))
print(most)
"""


@contextmanager
def _measured(name: str) -> Iterator[list[float]]:
    """Measure the peak memory of a container without its page cache, in MB; the list has it after the block."""
    peak: list[float] = []
    command = ["docker", "exec", "--interactive", name, "python", "-c", MEASURE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as measuring:
        try:
            assert measuring.stdout is not None
            assert measuring.stdout.readline() == "measuring\n"
            yield peak
        finally:
            peak.append(int(measuring.communicate()[0]) / 1e6)


def test_nothing_fills_the_memory_of_its_container(image: str, note: Note) -> None:
    port = free_port()
    name = docker("run", "--detach", "--memory", "1g", "--cpus", "2", "--publish", f"127.0.0.1:{port}:8000", image)

    def post(body: bytes, content_type: str = "image/jpeg", path: str = "/v1/predict") -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", path, body, {"Content-Type": content_type})
            return connection.getresponse().status
        except OSError:  # refused before the whole body was sent
            return 0
        finally:
            connection.close()

    def ready() -> bool:
        return bool(inspect(name)["State"]["Health"]["Status"] == "healthy")

    values = json.dumps({"inputs": [{}] * 6_500_000}).encode()
    form = f"multipart/form-data; boundary={BOUNDARY}"
    attacks = {bomb: [(make(), "image/jpeg", "/v1/predict")] * 2 for bomb, make in BOMBS.items()} | {
        "form of WebPs": [(multipart(*[WEBP] * 15), form, "/v1/predict")],
        "JSON of many values": [
            (values, "application/json", path) for path in ("/v1/predict", "/v2/models/hotdog/infer") * 2
        ],
    }
    try:
        until(ready, 60)
        workers = docker("exec", name, "python", "-c", WORKERS)
        for attack, requests in attacks.items():
            with _measured(name) as peak, ThreadPoolExecutor(8) as pool:
                asked = [pool.submit(post, *request) for request in requests]
                until(lambda: post(RED_JPEG) == 200, 10)  # 429 at first, while decoders are busy
                statuses = {each.result() for each in asked}
            note(f"{attack}: {sorted(statuses)}, {peak[0]:.0f} MB in a container of 1 GB")
            assert statuses <= {0, 413, 429}
            assert peak[0] < 600
        with _measured(name) as peak, ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(ENDLESS)
            until(lambda: post(RED_JPEG) == 200, 30)
            time.sleep(1)
        note(f"60 bodies that are announced and never sent: {peak[0]:.0f} MB in a container of 1 GB")
        assert peak[0] < 600
        state = inspect(name)
        assert (state["State"]["OOMKilled"], state["RestartCount"], ready()) == (False, 0, True)
        assert docker("exec", name, "python", "-c", WORKERS) == workers, "no process was replaced"
        assert '"ERROR"' not in docker("logs", name)
    finally:
        docker("rm", "--force", "--volumes", name)
