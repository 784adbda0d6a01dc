"""What runs in a decoder process: untrusted bytes become pixels, within bounds that the system enforces."""

import multiprocessing
import os
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np

from service.photo import PhotoTooCostly, Pixels, check_bytes, decode, read_photo, suffix

MEMORY = 450_000_000  # bytes; a HEIC photo of 50 megapixels takes 434 million, one of any other format less
SECONDS = 3
Photo = bytes | str  # its bytes, or the path of a file that has them


def confine(memory: int) -> None:
    """Bound this process for ever: so many bytes more of address space, no file written, no child process.

    What a photo needs beyond that is a MemoryError, or the end of this process, and costs no other photo anything. The
    process ends with the one that it decodes for, however that ends.
    """
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(0)


def to_square(photo: Photo, size: int, max_bytes: int, max_pixels: int) -> tuple[Pixels, float]:
    """Return a photo's square, as `read_photo` does, and the seconds that it took."""
    started = time.perf_counter()
    pixels = read_photo(_read(photo), size, max_bytes=max_bytes, max_pixels=max_pixels)
    return pixels, time.perf_counter() - started


def to_grey(photo: Photo, at_least: int, max_bytes: int, max_pixels: int) -> tuple[Pixels, float]:
    """Return a photo's grey levels, uint8 [height, width], and the seconds that it took; reduced as `decode` does."""
    started = time.perf_counter()
    data = _read(photo)
    check_bytes(len(data), max_bytes)
    grey = np.asarray(decode(data, at_least=at_least, max_pixels=max_pixels).convert("L"))
    return grey, time.perf_counter() - started


def to_suffix(photo: Photo, size: int, max_bytes: int, max_pixels: int) -> tuple[str, float]:
    """Return the suffix for the format of a photo that can be decoded, and the seconds that it took."""
    _, seconds = to_square(photo, size, max_bytes, max_pixels)
    return suffix(_read(photo)), seconds


def _read(photo: Photo) -> bytes:
    try:
        return Path(photo).read_bytes() if isinstance(photo, str) else photo
    except MemoryError as error:
        raise PhotoTooCostly("The photo takes too much memory to decode; send a smaller one.") from error
