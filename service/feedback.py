"""Photos whose right label people say, kept as they came in an image folder that `seefood train --extra` reads."""

import contextlib
import errno
import hashlib
import os
import tempfile
import threading
import time
import uuid
from pathlib import Path

from service.errors import SeeFoodError, in_words
from service.model import Model
from service.settings import Settings

_RECOUNT = 10  # seconds; in between, a process knows what it stores itself, and not what others do
_ABANDONED = 3600  # seconds; an unfinished file this old is one of a process that was killed
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk without room, or a limit, says


class Feedback:
    """A folder with one subfolder a label, which several processes may write to: none of them needs a lock.

    A file's name is the digest of its bytes, and it appears, moves to the other label and vanishes as a whole.
    """

    def __init__(self, folder: Path, max_bytes: int, labels: tuple[str, str]) -> None:
        """Make the folder where there is none; raises SeeFoodError where it can't be made or written to."""
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
            raise SeeFoodError(f"SEEFOOD_FEEDBACK_DIR: {in_words(error, str(folder))}") from error

    def store(self, data: bytes, label: str, suffix: str) -> bool:
        """Store a photo that can be decoded under one of the labels, and no longer under the other.

        Returns whether that changed anything, as the same bytes may have had this label already. Raises OSError, with
        one of FULL where there is no room, and then nothing was stored.
        """
        name = hashlib.sha256(data).hexdigest() + suffix
        path = self._folder / label / name
        (other,) = (self._folder / each / name for each in self.labels if each != label)
        if _moved(other, path):
            return True
        if path.exists():
            return False
        self._make_room(len(data))
        _write(path, data)
        _moved(other, path)  # another process may have stored it there since: of two labels the last one wins
        return True

    def _make_room(self, size: int) -> None:
        with self._lock:
            if time.monotonic() - self._counted > _RECOUNT:
                self._bytes, self._counted = _bytes_in(self._folder), time.monotonic()
            if self._bytes + size > self._max_bytes:
                raise OSError(errno.ENOSPC, f"feedback may take {self._max_bytes:,} bytes in all")
            self._bytes += size


def open_feedback(settings: Settings, model: Model) -> Feedback | None:
    """Open the folder that the settings name for the labels of a model; None where feedback is off."""
    labels = model.metadata.positive_label, model.metadata.negative_label
    folder = settings.feedback_dir
    return Feedback(Path(folder), settings.feedback_max_bytes, labels) if folder else None


def _moved(source: Path, target: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        source.replace(target)  # never a copy and a removal, between which two processes could lose both
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
        os.fsync(folder)  # or the name could be lost with the power
    finally:
        os.close(folder)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # another process has moved or finished it
            found = path.lstat()
            total += found.st_size
            if path.suffix == ".part" and time.time() - found.st_mtime > _ABANDONED:
                path.unlink()
    return total
