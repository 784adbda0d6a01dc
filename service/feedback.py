"""Stores photos with their correct label, unchanged, in an image folder that `seefood train --extra` reads."""

import contextlib
import errno
import hashlib
import os
import tempfile
import threading
import time
import uuid
from pathlib import Path

from service.errors import SeeFoodError, describe_os_error
from service.model import Model
from service.settings import Settings

_RECOUNT_SECONDS = 10  # how often a process counts what other processes have stored
_ABANDONED_SECONDS = 3600  # age of an unfinished file whose process was killed
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a full disk, a quota or a limit on file size


class Feedback:
    """A folder with one subfolder for each label. Several processes can write to it at a time without a lock.

    A file's name is the SHA-256 of its bytes. A file is created, moved to the other label and deleted atomically.
    """

    def __init__(self, folder: Path, max_bytes: int, labels: tuple[str, str]) -> None:
        """Create the folder if it does not exist; raises SeeFoodError if it can't be created or written to."""
        self.labels = labels
        self._folder, self._max_bytes, self._lock = folder, max_bytes, threading.Lock()
        try:
            for label in labels:
                if label[:1] in ("", ".") or Path(label).name != label or not label.isprintable():
                    raise SeeFoodError(f"The label {label!r} can't name a folder; unset SEEFOOD_FEEDBACK_DIR.")
                (folder / label).mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder / label).close()
            self._bytes, self._counted = _bytes_in(folder), time.monotonic()
        except OSError as error:
            raise SeeFoodError(f"SEEFOOD_FEEDBACK_DIR: {describe_os_error(error, str(folder))}") from error

    def store(self, data: bytes, label: str, suffix: str) -> bool:
        """Store a valid photo under one of the labels, and remove it from the other.

        Returns:
            False if the same bytes are already stored under this label, else True.

        Raises:
            OSError: the photo was not stored; the error number is one of DISK_FULL if there is no room.
        """
        name = hashlib.sha256(data).hexdigest() + suffix
        path = self._folder / label / name
        (other,) = (self._folder / each / name for each in self.labels if each != label)
        if _moved(other, path):
            return True
        if path.exists():
            return False
        self._reserve(len(data))
        _write(path, data)
        _moved(other, path)  # another process may have stored it there meanwhile: the last label wins
        return True

    def _reserve(self, size: int) -> None:
        with self._lock:
            if time.monotonic() - self._counted > _RECOUNT_SECONDS:
                self._bytes, self._counted = _bytes_in(self._folder), time.monotonic()
            if self._bytes + size > self._max_bytes:
                raise OSError(errno.ENOSPC, f"the limit of {self._max_bytes:,} bytes for all feedback is reached")
            self._bytes += size


def open_feedback(settings: Settings, model: Model) -> Feedback | None:
    """Open the folder in the settings for the labels of a model; None if feedback is off. Raises SeeFoodError."""
    labels = model.metadata.positive_label, model.metadata.negative_label
    folder = settings.feedback_dir
    return Feedback(Path(folder), settings.feedback_max_bytes, labels) if folder else None


def _moved(source: Path, target: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        source.replace(target)  # not a copy and a removal: two processes at a time could then delete both files
        return True
    return False


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # without it, a power failure could lose the file's name
    finally:
        os.close(folder)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # another process has moved or finished it
            found = path.lstat()
            total += found.st_size
            if path.suffix == ".part" and time.time() - found.st_mtime > _ABANDONED_SECONDS:
                path.unlink()
    return total
