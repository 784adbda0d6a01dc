"""Code that runs in a decoder process: decodes untrusted photos within limits that the operating system enforces."""

import multiprocessing
import os
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np

from service.photo import PhotoTooCostly, Pixels, check_bytes, decode, read_photo
from service.stored_photo import PreparedPhoto, prepare

DECODE_MEMORY = 450_000_000  # bytes; a HEIC photo of 50 megapixels needs 434 million, other formats need less
DECODE_SECONDS = 3
Photo = bytes | str  # the bytes of a photo, or the path of a file that contains them


def apply_limits(memory: int) -> None:
    """Limit this process for its lifetime: `memory` bytes of additional address space, no files, no child processes.

    A photo that needs more memory gets a MemoryError or ends this process; it does not affect other photos. The process
    exits when its parent process ends.
    """
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(0)


def to_square(photo: Photo, size: int, max_bytes: int, max_pixels: int) -> tuple[Pixels, float]:
    """Return a photo as a square, as `read_photo` does, and the duration in seconds."""
    started = time.perf_counter()
    pixels = read_photo(_read(photo), size, max_bytes=max_bytes, max_pixels=max_pixels)
    return pixels, time.perf_counter() - started


def to_grey(photo: Photo, at_least: int, max_bytes: int, max_pixels: int) -> tuple[Pixels, float]:
    """Return a photo's grey levels, uint8 [height, width], reduced as `decode` does, and the duration in seconds."""
    started = time.perf_counter()
    data = _read(photo)
    check_bytes(len(data), max_bytes)
    grey = np.asarray(decode(data, at_least=at_least, max_pixels=max_pixels).convert("L"))
    return grey, time.perf_counter() - started


def to_prepared(photo: Photo, size: int, max_bytes: int, max_pixels: int) -> tuple[PreparedPhoto, float]:
    """Return what the inbox needs of a photo, and the duration in seconds."""
    started = time.perf_counter()
    prepared = prepare(_read(photo), size, max_bytes, max_pixels)
    return prepared, time.perf_counter() - started


def _read(photo: Photo) -> bytes:
    try:
        return Path(photo).read_bytes() if isinstance(photo, str) else photo
    except MemoryError as error:
        raise PhotoTooCostly("The photo takes too much memory to decode; send a smaller one.") from error
