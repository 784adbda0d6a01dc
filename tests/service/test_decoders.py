"""Untrusted photos are decoded in processes that have limits and can be killed."""

import multiprocessing
import operator
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
import pytest
from PIL import Image

from service import decoder
from service.decoder_pool import DecoderPool
from service.decoders import SMALL_MEMORY, Decoders
from service.errors import DeadlineExceeded
from service.photo import FORMATS, PhotoTooCostly, PhotoTooLarge, Pixels, UndecodablePhoto, UnsupportedPhoto, read_photo
from tests.conftest import ROOT
from tests.fixtures.bombs import BOMBS
from tests.fixtures.drawing import draw, encode
from tests.fixtures.load import until
from tests.fixtures.painting import RED

SIZE = 32
DECODE_ALL = """
import os, time
from service.decoders import Decoders
from service.photo import FORMATS
from tests.fixtures.drawing import draw, encode

if __name__ == "__main__":
    assert os.geteuid() != 0
    decoders = Decoders(1)
    for kind in FORMATS:
        decoders.square(encode(draw("hotdog", 1, (640, 480)), kind), 32, time.monotonic() + 60)
        print(kind)
    decoders.close()
"""
SLOW = encode(draw("hotdog", 1, (5000, 5000)), "PNG")  # takes 0.3 to one second and 75 MB
LARGE = encode(draw("hotdog", 1, (7000, 7000)), "PNG")  # takes about two seconds and 150 MB, more than SMALL_MEMORY
linux = pytest.mark.skipif(sys.platform != "linux", reason="what bounds the memory is Linux's")


@contextmanager
def _running(count: int = 1, memory: int = decoder.DECODE_MEMORY, seconds: float = 60) -> Iterator[Decoders]:
    decoders = Decoders(count, memory, seconds)
    try:
        decoders.warm_up()
        yield decoders
    finally:
        decoders.close()


@pytest.fixture
def pids() -> Callable[[], set[int]]:
    """Return a function for the process ids of all decoders that the test has started."""

    def running() -> set[int]:
        children = psutil.Process().children()
        return {decoder.pid for child in children for decoder in child.children() if decoder.is_running()}

    before = running()
    return lambda: running() - before


def _square(decoders: Decoders, photo: bytes, seconds: float = 60) -> Pixels:
    pixels, decode_seconds = decoders.square(photo, SIZE, time.monotonic() + seconds)
    assert 0 < decode_seconds < 60
    return pixels


def _is_red(square: Pixels) -> bool:
    return bool((square == (255, 0, 0)).all())


def _busy(pids: set[int]) -> set[int]:
    """Return the processes that have a large part of the slow photo's pixels in memory."""
    return {pid for pid in pids if _memory(pid) > 80_000_000}


def _memory(pid: int) -> int:
    try:
        memory: int = psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return memory


def _end_busy(pids: Callable[[], set[int]], how: signal.Signals) -> None:
    """Wait for the decoder of the slow photo, send it a signal, and wait until it has ended."""
    until(lambda: _busy(pids()))
    for pid in _busy(pids()):
        os.kill(pid, how)
        until(lambda: not psutil.pid_exists(pid))  # noqa: B023 - called at once


def test_each_caller_gets_its_own_square() -> None:
    with _running(2) as decoders, ThreadPoolExecutor(8) as pool:
        colours = [(level, 0, 255 - level) for level in range(0, 250, 10)]
        photos = [encode(Image.new("RGB", (60, 40), colour), "PNG") for colour in colours]
        decoded = list(pool.map(partial(_square, decoders), photos))
    assert [tuple(one[0, 0].tolist()) for one in decoded] == colours
    assert {(one.shape, one.dtype) for one in decoded} == {((SIZE, SIZE, 3), np.dtype(np.uint8))}


@pytest.mark.parametrize("how", ["memory", "a pipe, where there is no such memory", "a pipe, where it can't be read"])
def test_a_large_file_reaches_a_decoder(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = encode(Image.effect_noise((400, 400), 60).convert("RGB"), "PNG")
    assert len(photo) > 65_536
    with _running() as decoders:
        open_files = len(psutil.Process().open_files())
        if "no such" in how:
            monkeypatch.delattr(os, "memfd_create")
        if "can't" in how:
            monkeypatch.setattr("service.decoders.os.getpid", lambda: 0)
        decoded = _square(decoders, photo)
        monkeypatch.undo()
        assert len(psutil.Process().open_files()) == open_files
    assert np.array_equal(decoded, read_photo(photo, SIZE))


def test_too_many_bytes_are_refused() -> None:
    with closing(Decoders(1, max_bytes=len(RED) - 1)) as decoders:
        for decode in (decoders.square, decoders.grey, decoders.prepare):
            with pytest.raises(PhotoTooLarge, match=rf"^The photo has {len(RED)} bytes; at most {len(RED) - 1} are"):
                decode(RED, SIZE)


def test_a_bad_photo_does_not_affect_the_next() -> None:
    with _running() as decoders:
        for photo, error in ((b"no photo", UndecodablePhoto), (b"%PDF-1.7\n" + b" " * 50, UnsupportedPhoto)):
            with pytest.raises(error):
                _square(decoders, photo)
            assert _is_red(_square(decoders, RED))


@linux
def test_a_large_photo_is_decoded_in_the_large_decoder() -> None:
    assert decoder.DECODE_MEMORY > SMALL_MEMORY
    with _running() as decoders, ThreadPoolExecutor(1) as pool:
        large = pool.submit(_square, decoders, LARGE)
        assert _is_red(_square(decoders, RED))
        assert large.result().std() > 10
    with _running(memory=SMALL_MEMORY) as decoders, pytest.raises(PhotoTooCostly):
        _square(decoders, LARGE)


@linux
def test_a_photo_over_the_memory_limit_is_too_costly() -> None:
    with _running(memory=30_000_000) as decoders:
        for _ in range(3):
            with pytest.raises(PhotoTooCostly, match="memory"):
                _square(decoders, LARGE)
            assert _is_red(_square(decoders, RED))


@pytest.mark.alone
def test_a_photo_over_the_time_limit_is_too_costly(pids: Callable[[], set[int]]) -> None:
    with _running(seconds=0.5) as decoders:
        before = pids()
        with pytest.raises(PhotoTooCostly, match=r"^The photo takes more than 0\.5 seconds to decode; send a"):
            _square(decoders, BOMBS["JPEG of 3,000 scans"]())
        until(lambda: len(before - pids()) == 1)
        until(lambda: _is_red(_square(decoders, RED)))


CRASHES = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS]  # signals of faults in native code


@pytest.mark.parametrize("crash", CRASHES)
def test_a_photo_that_crashes_decoders_does_not_affect_others(
    pids: Callable[[], set[int]], crash: signal.Signals
) -> None:
    with _running() as decoders:
        with ThreadPoolExecutor(4) as pool:
            crashed = pool.submit(_square, decoders, SLOW)
            until(lambda: _busy(pids()))
            others = [pool.submit(_square, decoders, photo) for photo in (RED, b"no photo", RED)]
            for _ in range(3):
                _end_busy(pids, crash)
            with pytest.raises(UndecodablePhoto, match="3 decoder processes ended on it"):
                crashed.result(60)
        assert _is_red(others[0].result())
        with pytest.raises(UndecodablePhoto, match="not a photo"):
            others[1].result()
        assert _is_red(others[2].result())


def test_a_photo_that_ends_its_decoder_is_refused() -> None:
    """The HEIC library ends its process when the type of an item is not UTF-8."""
    photo = encode(Image.new("RGB", (40, 30), "red"), "HEIF", exif=Image.Exif().tobytes())
    with _running() as decoders:
        with pytest.raises(UndecodablePhoto, match="3 decoder processes ended on it"):
            _square(decoders, photo.replace(b"Exif", b"Exi\x80", 1))
        assert _is_red(_square(decoders, RED))


@pytest.mark.parametrize("how", [signal.SIGKILL, *CRASHES])
def test_a_killed_decoder_loses_no_photo(pids: Callable[[], set[int]], how: signal.Signals) -> None:
    """When the kernel kills a decoder for lack of memory, its photo is decoded again."""
    with _running() as decoders, ThreadPoolExecutor(2) as pool:
        for pid in pids():
            os.kill(pid, how)
        assert _is_red(_square(decoders, RED))
        slow = pool.submit(_square, decoders, SLOW)
        until(lambda: _busy(pids()))
        red = pool.submit(_square, decoders, RED)
        _end_busy(pids, how)
        assert slow.result().std() > 10
        assert _is_red(red.result())


def test_the_start_of_another_process_is_not_decoding_time(
    pids: Callable[[], set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "apply_limits", time.sleep)  # for two seconds, at the start of each process
    with closing(DecoderPool(1, memory=2, seconds=1)) as pool:
        until(pids)
        for pid in pids():
            os.kill(pid, signal.SIGKILL)
        assert _is_red(pool.run(time.monotonic() + 60, read_photo, RED, SIZE)[0])


def test_a_photo_whose_decoders_are_always_killed_is_refused(pids: Callable[[], set[int]]) -> None:
    with _running() as decoders, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(_square, decoders, SLOW)
        for _ in range(3):
            _end_busy(pids, signal.SIGKILL)
        with pytest.raises(UndecodablePhoto, match="3 decoder processes ended on it"):
            killed.result(60)
        assert _is_red(_square(decoders, RED))


def test_killed_decoders_lose_no_photo_under_load(pids: Callable[[], set[int]]) -> None:
    """Each photo is hit by one kill at most: a photo on which three decoders end is refused."""
    stop, answered = Event(), [0] * 4

    def ask(client: int) -> None:
        while not stop.is_set():
            assert _is_red(_square(decoders, RED))
            answered[client] += 1

    with _running(2) as decoders, ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask, client) for client in range(4)]
        for _ in range(10):
            goals = [count + 2 for count in answered]
            until(lambda: pids() and all(map(operator.ge, answered, goals)))  # noqa: B023 - called at once
            os.kill(sorted(pids())[0], signal.SIGKILL)
        stop.set()
        for each in clients:
            each.result(60)


def test_decoders_restart_after_the_fork_server_is_killed(pids: Callable[[], set[int]]) -> None:
    with _running(2) as decoders:
        killed = pids()
        assert len(killed) == 3, "two for small photos, one for large photos"
        parents = {psutil.Process(pid).ppid() for pid in killed}
        for pid in (*parents, *killed):
            os.kill(pid, signal.SIGKILL)
        for _ in range(5):
            assert _is_red(_square(decoders, RED))


def test_waiting_photos_are_cancelled_at_the_deadline(pids: Callable[[], set[int]]) -> None:
    with _running() as decoders, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(_square, decoders, SLOW, 0.1) for _ in range(20)]
        for each in asked:
            with pytest.raises(DeadlineExceeded):
                each.result()
        assert _is_red(_square(decoders, RED, 5))
        until(lambda: not _busy(pids()))


def test_a_decoder_is_replaced_at_the_deadline(pids: Callable[[], set[int]]) -> None:
    with _running() as decoders:
        before = pids()
        with pytest.raises(DeadlineExceeded):
            _square(decoders, SLOW, 0.1)
        until(lambda: len(before - pids()) == 1)
        assert _is_red(_square(decoders, RED))


def test_closing_ends_decoders(pids: Callable[[], set[int]]) -> None:
    with _running(2):
        assert len(pids()) == 3, "one of them for large photos"
    until(lambda: not pids())
    Decoders(2).close()  # before its first photo


def test_a_decoder_imports_only_decoding_code() -> None:
    check = "import sys, service.decoder; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "PIL.Image" in modules
    absent = {"torch", "flask", "werkzeug", "onnxruntime", "gunicorn", "prometheus_client", "training", "service.app"}
    assert not absent & modules
    assert {name for name in modules if name.startswith("service.")} == {"service.decoder", "service.photo"}


@linux
def test_a_decoder_has_no_library_of_the_service_in_its_memory(pids: Callable[[], set[int]]) -> None:
    """The libraries are in the memory of the test process, of which a decoder is not a fork."""
    with _running() as decoders:
        assert _is_red(_square(decoders, RED))
        files = {Path(mapped.path).name for pid in pids() for mapped in psutil.Process(pid).memory_maps()}
    assert any(name.startswith("_imaging") for name in files)
    assert not [name for name in files if "onnxruntime" in name or "torch" in name]


@linux
def test_every_format_is_decoded_for_a_user_who_is_not_root() -> None:
    """Limits on threads apply to all users but root, and the decoders of HEIC and AVIF start threads."""
    user = []
    if os.geteuid() == 0:  # the capability lets the user read this Python, which may be in /root
        user = [
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
            *(f"--{each}=+dac_read_search" for each in ("inh-caps", "ambient-caps")),
        ]
    ran = subprocess.run(
        [*user, sys.executable, "-P", "-c", DECODE_ALL], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert ran.stdout.split() == [*FORMATS]


@linux
def test_a_decoder_can_not_write_files_start_processes_or_raise_limits(tmp_path: Path) -> None:
    """The process can't raise its own limits; root could, but the service does not run as root."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        process = multiprocessing.get_context("forkserver").Process(target=_misbehave, args=(theirs, tmp_path))
        process.start()
        assert ours.poll(60)
        written, forked, in_a_thread, ran, thread, taken, *lifted = ours.recv()
        process.join()
    assert "File too large" in written
    assert {"Operation not permitted" in each for each in (forked, in_a_thread, ran)} == {True}
    assert thread == "nothing was refused"
    assert taken == "MemoryError()"
    assert lifted == ["ValueError('not allowed to raise maximum limit')"] * 3
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def _misbehave(told: Connection, folder: Path) -> None:
    file = (folder / "file").open("wb", buffering=0)
    older = ThreadPoolExecutor(1)
    older.submit(os.getpid).result()
    decoder.apply_limits(decoder.DECODE_MEMORY)
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    acts: list[Callable[[], object]] = [
        lambda: file.write(b"x"),
        os.fork,
        lambda: older.submit(os.fork).result(),
        lambda: subprocess.run(["/bin/true"], check=True),
        lambda: Thread(target=os.getpid).start(),
        lambda: bytes(2 * decoder.DECODE_MEMORY),
    ]
    limits = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
    acts += [partial(resource.setrlimit, limit, (2**50, 2**50)) for limit in limits]
    told.send([_refused(act) for act in acts])


def _refused(act: Callable[[], object]) -> str:
    try:
        act()
    except (OSError, ValueError, MemoryError) as error:
        return repr(error)
    return "nothing was refused"
