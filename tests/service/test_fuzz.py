"""Damaged files of every format give pixels or a typed error, quickly, in little memory and without a crash."""

import os
import subprocess
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from service.decoders import Decoders
from service.photo import PhotoError, read_photo
from tests.conftest import ROOT
from tests.fixtures.memory import peak_memory
from tests.fixtures.mutations import mutated, originals
from tests.fixtures.server import serving

FILES = 40_000
ASKED = 2_000
SIZE = 32
MAX_PIXELS = 10_000_000  # limits the memory that a damaged header can cause: WebP takes 16 bytes for each pixel
MEGABYTES = 1000


def read_them(progress: str) -> None:
    """Read every file, and write its number to a file first, so that a crash can be traced to it."""
    note = os.open(progress, os.O_WRONLY | os.O_CREAT)
    originals()
    read = 0
    with closing(Decoders(2, max_pixels=MAX_PIXELS)) as decoders, peak_memory(os.getpid(), 0.2) as peak:
        for number in range(FILES):
            _, data = mutated(number)
            os.pwrite(note, b"%8d" % number, 0)
            with suppress(PhotoError):
                pixels = decoders.square(data, SIZE)[0]
                read += 1
                assert pixels.shape == (SIZE, SIZE, 3)
                assert pixels.dtype == np.uint8
    assert peak.megabytes < MEGABYTES
    assert FILES / 10 < read < FILES * 9 / 10, "some files are readable, some are not"


@pytest.mark.parametrize("name", originals())
def test_the_originals_are_read(name: str) -> None:
    assert read_photo(originals()[name], SIZE).shape == (SIZE, SIZE, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damaged_files_give_pixels_or_typed_errors(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    program = f"from tests.service.test_fuzz import read_them; read_them({str(progress)!r})"
    command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", program]
    try:
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        pytest.fail(f"reading mutated({progress.read_text()}) never ends")
    assert done.returncode == 0, f"mutated({progress.read_text()}): {done.returncode}, {done.stderr[-3000:]}"


@pytest.mark.slow
def test_the_service_survives_damaged_files(tiny_models: Path) -> None:
    with serving(tiny_models, SEEFOOD_MAX_PIXELS=str(MAX_PIXELS)) as server:
        (worker,) = server.workers()
        before = _resident(worker)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        statuses = set()
        for number in range(ASKED):
            connection.request("POST", "/v1/predict", mutated(FILES + number)[1], {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            statuses.add(answer.status)
            assert answer.status in (200, 400, 413, 415), f"mutated({FILES + number}): {answer.read()!r}"
            answer.read()
        connection.close()
        assert {200, 400, 413} <= statuses
        assert server.request("GET", "/readyz").status == 200
        assert server.workers() == [worker], "the worker did not crash"
        if before is not None:
            assert (_resident(worker) or 0) - before < MEGABYTES


def _resident(process: int) -> int | None:
    """Return the resident memory of a process in megabytes, if the system has /proc."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024
