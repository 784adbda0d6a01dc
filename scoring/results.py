"""The file of results: rows are appended as JSON lines, and converted to CSV or Parquet when the run is complete."""

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from types import ModuleType

import numpy as np

from scoring import csv_file
from scoring.rows import Row, decode, encode
from service.errors import SeeFoodError, describe_os_error
from service.inbox.index import fsync_folder

_DIGEST = "S16"  # 128 bits, so that two file names never collide in practice


class Results:
    """The rows in an open file of JSON lines.

    Attributes:
        counts: number of rows per label; the key None counts photos that can't be read.
        uncertain: number of uncertain verdicts.
        unfamiliar: number of photos that differ from the training photos.
    """

    def __init__(self, file: FileIO, rows: Iterable[Row]) -> None:
        """Take a file that is open for appending, and the rows that it contains."""
        self._file = file
        self.counts: Counter[str | None] = Counter()
        self.uncertain = 0
        self.unfamiliar = 0
        digests = bytearray()
        for row in rows:
            self._count(row)
            digests += _digest(row.file)
        self._known = np.frombuffer(digests, _DIGEST)
        self._known.sort()

    def __contains__(self, file: str) -> bool:
        """Return whether the file had a row for this photo when it was opened."""
        digest = np.array(_digest(file), _DIGEST)
        place = int(np.searchsorted(self._known, digest))
        return place < len(self._known) and bool(self._known[place] == digest)

    def add(self, row: Row) -> None:
        """Append a row; it is in the file even if the process is killed right after. Raises SeeFoodError."""
        left = encode(row)
        with _described(Path(self._file.name)):
            while left:
                left = left[self._file.write(left) :]
        self._count(row)

    def _count(self, row: Row) -> None:
        self.counts[row.label] += 1
        self.uncertain += bool(row.uncertain)
        self.unfamiliar += bool(row.unfamiliar)


@contextlib.contextmanager
def open_results(path: Path, model_version: str) -> Iterator[Results]:
    """Open or create a file of results, and convert it to its final format at the end of the block.

    The rows of a CSV or Parquet file are collected beside it, in a file whose name ends in `.part.jsonl`. That file is
    kept if the block raises, and the next call continues with it. Memory: 16 bytes per existing row.

    Raises:
        SeeFoodError: the extension is unknown, or the file is in use, has other contents, or was written by another
            model.
    """
    table = _table_module(path)
    if not path.parent.is_dir():
        raise SeeFoodError(f"The folder {path.parent} does not exist; create it first.")
    part = path.with_name(f"{path.name}.part.jsonl") if table else path
    with contextlib.ExitStack() as stack:
        with _described(path):
            file = stack.enter_context(_locked(part, path))
            results = Results(file, _checked(_complete_rows(file), part, model_version))
            if table and path.exists() and path.stat().st_size:
                _append_missing(results, file, _checked(table.read_rows(path), path, model_version))
                results = Results(file, _complete_rows(file))
        yield results
        if table:
            with _described(path):
                _convert(part, path, table)


def _table_module(path: Path) -> ModuleType | None:
    match path.suffix.lower():
        case ".jsonl":
            return None
        case ".csv":
            return csv_file
        case ".parquet":
            try:
                from scoring import parquet_file
            except ImportError as error:
                raise SeeFoodError("Parquet files require pyarrow; run pip install '.[bulk]' in a clone.") from error
            return parquet_file
    raise SeeFoodError(f"{path} has an unknown extension; use .csv, .jsonl or .parquet.")


@contextlib.contextmanager
def _locked(part: Path, path: Path) -> Iterator[FileIO]:
    """Open a file for appending, for this process alone; remove it at the end if it is empty."""
    with part.open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), part.stat()):
                raise FileNotFoundError  # another process finished and removed it between opening and locking
        except (BlockingIOError, FileNotFoundError) as error:
            raise SeeFoodError(f"{path} is in use by another seefood predict; choose another file.") from error
        try:
            yield file
        finally:
            if not os.fstat(file.fileno()).st_size:
                part.unlink(missing_ok=True)


def _complete_rows(file: FileIO) -> Iterator[Row]:
    """Yield the rows of a file, then remove an incomplete last line; raises ValueError or TypeError."""
    end = 0
    with Path(file.name).open("rb") as source:
        for row, end in decode(source):  # noqa: B007
            yield row
    file.truncate(end)


def _append_missing(results: Results, file: FileIO, rows: Iterator[Row]) -> None:
    """Append the rows of a finished file, or none of them if one is not usable."""
    size = os.fstat(file.fileno()).st_size
    try:
        for row in rows:
            if row.file not in results:
                results.add(row)
    except BaseException:
        file.truncate(size)
        raise


def _convert(part: Path, path: Path, table: ModuleType) -> None:
    """Replace a table by one with the rows of the part file, in one step, and remove the part file.

    The rows are on the disk before the part file is removed, so that a power failure can't lose them.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        with part.open("rb") as source:
            table.write_rows(new, (row for row, _ in decode(source)))
        with new.open("rb") as written:
            os.fsync(written.fileno())
        new.replace(path)
        fsync_folder(path.parent)
    finally:
        new.unlink(missing_ok=True)
    part.unlink()


def _checked(rows: Iterable[Row], path: Path, model_version: str) -> Iterator[Row]:
    try:
        for row in rows:
            if row.model_version != model_version:
                raise SeeFoodError(
                    f"{path} has results of model {row.model_version}, not of {model_version}; choose another file."
                )
            yield row
    except (ValueError, TypeError) as error:
        raise SeeFoodError(
            f"{path} was not written by this version of seefood predict; choose another file."
        ) from error


def _digest(file: str) -> bytes:
    return blake2b(file.encode(), digest_size=16).digest()


@contextlib.contextmanager
def _described(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SeeFoodError(describe_os_error(error, str(path))) from error
