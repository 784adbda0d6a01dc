"""Damaged files of every format: pixels or a typed error, soon, in little memory, and never the end of the process."""

import os
import resource
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from service.photo import PhotoError, read_photo
from tests.conftest import ROOT
from tests.fixtures.mutations import mutated, originals
from tests.fixtures.server import serving

FILES = 40_000
ASKED = 2_000
SIZE = 32
MAX_PIXELS = 10_000_000  # what a header may claim is what reading may cost: a WebP takes 16 bytes a pixel
MEGABYTES = 400
SECONDS = 2


def read_them(progress: str) -> None:
    """Read every file, noting the number of each first: whoever ends this process then knows which one it was."""
    note = os.open(progress, os.O_WRONLY | os.O_CREAT)
    originals()
    before = _peak()
    read = 0
    for number in range(FILES):
        _, data = mutated(number)
        os.pwrite(note, b"%8d" % number, 0)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of CPU time, as others may be busy; it ends the process
        try:
            pixels = read_photo(data, SIZE, max_pixels=MAX_PIXELS)
        except PhotoError:
            pixels = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        if pixels is not None:
            read += 1
            assert pixels.shape == (SIZE, SIZE, 3)
            assert pixels.dtype == np.uint8
        assert _peak() - before < MEGABYTES
    assert FILES / 10 < read < FILES * 9 / 10, "both ends are reached"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("name", originals())
def test_the_originals_are_read(name: str) -> None:
    assert read_photo(originals()[name], SIZE).shape == (SIZE, SIZE, 3)


@pytest.mark.slow
def test_damaged_files_are_pixels_or_typed_errors(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    program = f"from tests.service.test_fuzz import read_them; read_them({str(progress)!r})"
    command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", program]
    try:
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        pytest.fail(f"reading mutated({progress.read_text()}) never ends")
    assert done.returncode == 0, f"mutated({progress.read_text()}): {done.returncode}, {done.stderr[-3000:]}"


@pytest.mark.slow
def test_a_service_that_is_sent_damaged_files_answers_each_and_goes_on(tiny_models: Path) -> None:
    settings = {"SEEFOOD_WORKERS": "1", "SEEFOOD_MAX_PIXELS": str(MAX_PIXELS)}
    with serving(tiny_models, **settings) as server:
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
        assert server.workers() == [worker], "no worker had to be replaced"
        if before is not None:
            assert (_resident(worker) or 0) - before < MEGABYTES


def _resident(process: int) -> int | None:
    """Return the megabytes that a process holds, where the system says so."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024
