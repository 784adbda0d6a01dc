"""Code that runs in a decoder process: decodes untrusted photos within limits that the operating system enforces."""

import errno
import multiprocessing
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

if sys.platform == "linux":
    import seccompy

from service.photo import PhotoTooCostly, Pixels, decode

DECODE_MEMORY = 450_000_000  # bytes; a HEIC photo of 50 megapixels needs 434 million, other formats need less
DECODE_SECONDS = 3
_CLONE_THREAD = 0x10000  # linux/sched.h
T = TypeVar("T")
Photo = bytes | str  # the bytes of a photo, or the path of a file that contains them


def apply_limits(memory: int) -> None:
    """Limit this process for its lifetime: `memory` bytes of additional address space, no files, no child processes.

    Threads remain possible, because the decoders of HEIC and AVIF start some. A photo that needs more memory gets a
    MemoryError or ends this process; it does not affect other photos. The process exits when its parent process ends.
    """
    exit_with_parent()
    if sys.platform == "linux" and seccompy.supported():
        _forbid_processes()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def _forbid_processes() -> None:
    """Let every system call fail that starts a process or a program; RLIMIT_NPROC would forbid threads too."""
    calls = seccompy.Filter(flags=seccompy.FilterFlag.TSYNC)
    for name in ("execve", "execveat", *(("fork", "vfork") if seccompy.arch() == "x86_64" else ())):
        calls.errno(name, errno.EPERM)
    # The flags of clone3 are in memory, where a filter can't read them. Without it, glibc starts threads by clone.
    calls.errno("clone3", errno.ENOSYS)
    calls.errno("clone", errno.EPERM, args=[seccompy.ArgCmp(0, seccompy.CmpOp.MASKED_EQ, 0, mask=_CLONE_THREAD)])
    calls.load()


def exit_with_parent() -> None:
    """Let this process exit as soon as its parent process ends."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(0)


def run(function: Callable[..., T], photo: Photo, *arguments: int) -> tuple[T, float]:
    """Call a function with the bytes of a photo and more arguments; return its result and the duration in seconds."""
    started = time.perf_counter()
    try:
        data = Path(photo).read_bytes() if isinstance(photo, str) else photo
    except MemoryError as error:
        raise PhotoTooCostly("The photo takes too much memory to decode; send a smaller one.") from error
    return function(data, *arguments), time.perf_counter() - started


def to_grey(data: bytes, at_least: int, max_pixels: int) -> Pixels:
    """Return a photo's grey levels, uint8 [height, width], reduced as `decode` does."""
    return np.asarray(decode(data, at_least=at_least, max_pixels=max_pixels).convert("L"))
