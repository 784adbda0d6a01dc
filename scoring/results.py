"""The file that bulk scoring writes, in a format by its ending; it goes on where it ended, however it ended."""

import contextlib
import fcntl
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from types import ModuleType

import numpy as np

from scoring.rows import Csv, Format, JsonLines, Row
from service.errors import SeeFoodError, in_words

_FORMATS: dict[str, Format] = {".csv": Csv(), ".jsonl": JsonLines(), ".parquet": JsonLines()}
_DIGEST = "S16"  # 128 bits: no two of any number of names share them


class Results:
    """Rows in an open file: those it had, and more at its end.

    Attributes:
        counts: how many rows have each label; under None those of photos that can't be read.
        uncertain: how many verdicts are in doubt.
        unfamiliar: how many photos do not resemble those of training.
    """

    def __init__(self, file: FileIO, encoding: Format, rows: Iterable[Row]) -> None:
        """Take a file open for appending, and the rows that it has."""
        self._file = file
        self._encoding = encoding
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
        """Say whether a photo of this name had a row when the file was opened."""
        digest = np.array(_digest(file), _DIGEST)
        place = int(np.searchsorted(self._known, digest))
        return place < len(self._known) and bool(self._known[place] == digest)

    def add(self, row: Row) -> None:
        """Write a row, which the file has from then on, whatever ends this process; raises SeeFoodError."""
        left = self._encoding.encode(row)
        with _in_words(Path(self._file.name)):
            while left:
                left = left[self._file.write(left) :]
        self._count(row)

    def _count(self, row: Row) -> None:
        self.counts[row.label] += 1
        self.uncertain += bool(row.uncertain)
        self.unfamiliar += bool(row.unfamiliar)


@contextlib.contextmanager
def open_results(path: Path, model_version: str) -> Iterator[Results]:
    """Open or create a file of results, less what a killed run left of its last row, and finish it in the end.

    Parquet can't be appended to: its rows stand beside it until then, in a file whose name ends in `.part.jsonl`. Held
    are 16 bytes for each row that was there.

    Raises:
        SeeFoodError: the ending is unknown, the file is another's or has another model's answers, or is in use.
    """
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise SeeFoodError(f"{path} can't be written: name a file that ends in .csv, .jsonl or .parquet.")
    encoding = _FORMATS[ending]
    parquet = _parquet() if ending == ".parquet" else None
    appended = path.with_name(f"{path.name}.part.jsonl") if parquet else path
    with contextlib.ExitStack() as stack:
        with _in_words(path):
            if parquet and path.exists() and not appended.exists():
                with _replaced(appended) as fresh, fresh.open("wb") as copy:
                    copy.writelines(map(encoding.encode, _checked(parquet.read_rows(path), path, model_version)))
            file = stack.enter_context(appended.open("ab", buffering=0))
            _lock(file, path)
            results = Results(file, encoding, _checked(_whole_rows(file, encoding), path, model_version))
        yield results
        with _in_words(path):
            if parquet:
                with _replaced(path) as fresh, appended.open("rb") as source:
                    parquet.write_rows(fresh, (row for row, _ in encoding.decode(source)))
                appended.unlink()


def _whole_rows(file: FileIO, encoding: Format) -> Iterator[Row]:
    """Yield the rows that a file has, then cut off what is behind the last; raises ValueError, TypeError."""
    end = len(encoding.header)
    with Path(file.name).open("rb") as source:
        start = source.read(len(encoding.start))
        if not encoding.start.startswith(start):
            raise ValueError(f"the file begins with {start!r}")
        source.seek(0)
        if start == encoding.start:
            for row, end in encoding.decode(source):  # noqa: B007
                yield row
    if start == encoding.start:
        file.truncate(end)
    else:
        file.truncate(0)
        file.write(encoding.header)


def _checked(rows: Iterable[Row], path: Path, model_version: str) -> Iterator[Row]:
    try:
        for row in rows:
            if row.model_version != model_version:
                raise SeeFoodError(
                    f"{path} has answers of model {row.model_version}, not of {model_version}; name another file."
                )
            yield row
    except (ValueError, TypeError) as error:
        raise SeeFoodError(f"{path} is not a file that this version of seefood predict wrote; name another.") from error


def _digest(file: str) -> bytes:
    return blake2b(file.encode(), digest_size=16).digest()


def _lock(file: FileIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SeeFoodError(f"{path} is being written by another seefood predict; name another file.") from error


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SeeFoodError(in_words(error, str(path))) from error


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Give the path of a new file, which takes the place of another once it is whole."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _parquet() -> ModuleType:
    try:
        from scoring import parquet
    except ImportError as error:
        raise SeeFoodError("Parquet needs pyarrow; pip install 'seefood[bulk]'.") from error
    return parquet
