"""The folder through which the workers of one service count together; it ends with the service, however that ends."""

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it once, when it is imported
_NAME = "seefood-metrics-"


def make() -> None:
    """Make a fresh folder, unless the operator named one, and remove those of services that were killed."""
    if os.environ.get(VARIABLE):
        return
    parent = Path("/dev/shm")  # noqa: S108 - counting on a disk could stall a worker
    if not os.access(parent, os.W_OK):
        parent = Path(tempfile.gettempdir())
    for old in parent.glob(f"{_NAME}*"):
        with suppress(OSError):  # another user's, or locked by a service that runs
            lock = _open_locked(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
            os.close(lock)
    new = Path(tempfile.mkdtemp(dir=parent))
    _open_locked(new, fcntl.LOCK_SH)  # held by this process and its workers until the last of them ends
    folder = new.rename(parent / f"{_NAME}{new.name}")  # only now would another start look at it
    atexit.register(_remove, folder, os.getpid())
    os.environ[VARIABLE] = str(folder)


def check() -> None:
    """Raise OSError where the folder that the operator named can't be made or written to."""
    if named := os.environ.get(VARIABLE):
        Path(named).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=named).close()


def forget(pid: int) -> None:
    """Take what a worker that has ended had under way off the gauges; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead  # not before the variable is set

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _open_locked(folder: Path, kind: int) -> int:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, kind)
    except OSError:
        os.close(opened)
        raise
    return opened


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a worker inherits what is registered for the exit
        shutil.rmtree(folder, ignore_errors=True)
