"""One row a photo, as bytes that are appended to a file and read back up to its last whole row."""

import csv
import io
import json
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol


class Row(NamedTuple):
    """What is written of one photo.

    Attributes:
        file: its path or URL, as `sources.name` writes it.
        label, probability, uncertain: the verdict, with P(positive) in [0, 1]; None where the photo can't be read.
        unfamiliar: whether it does not resemble the photos of training; None there, and where the model can't tell.
        model_version: of the model that was asked.
        error: the sentence that says why the photo can't be read, else None.
    """

    file: str
    label: str | None
    probability: float | None
    uncertain: bool | None
    unfamiliar: bool | None
    model_version: str
    error: str | None


class Format(Protocol):
    """How rows become bytes.

    Attributes:
        header: what a file has before its first row.
        start: what every file with a row begins with.
    """

    header: bytes
    start: bytes

    def encode(self, row: Row) -> bytes:
        """Return the bytes of a row."""
        ...

    def decode(self, file: BinaryIO) -> Iterator[tuple[Row, int]]:
        """Yield each whole row and the position where it ends; raises ValueError, TypeError at what is no row."""
        ...


class JsonLines:
    """A JSON object a line."""

    header = b""
    start = b'{"file": "'

    def encode(self, row: Row) -> bytes:
        """Return the bytes of a row."""
        return json.dumps(row._asdict()).encode() + b"\n"

    def decode(self, file: BinaryIO) -> Iterator[tuple[Row, int]]:
        """Yield each whole row and the position where it ends; raises ValueError, TypeError at what is no row."""
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield Row(**json.loads(line)), end


class Csv:
    """RFC 4180 in UTF-8, with a heading and bare newlines: a file name with a newline in it is a cell in quotes."""

    header = start = ",".join(Row._fields).encode() + b"\n"

    def encode(self, row: Row) -> bytes:
        """Return the bytes of a row, None as an empty cell and booleans as in JSON."""
        text = io.StringIO(newline="")
        cells = [str(cell).lower() if isinstance(cell, bool) else cell for cell in row]
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue().encode()

    def decode(self, file: BinaryIO) -> Iterator[tuple[Row, int]]:
        """Yield each whole row and the position where it ends; raises ValueError, TypeError at what is no row."""
        end = 0

        def lines() -> Iterator[str]:
            nonlocal end
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield line.decode()

        rows = csv.reader(lines(), strict=True)
        try:
            next(rows)
            for cells in rows:
                yield _from_cells(*cells), end
        except csv.Error as error:
            if "unexpected end" not in str(error):  # which a row cut within quotes has
                raise ValueError(error) from error


def _from_cells(
    file: str, label: str, probability: str, uncertain: str, unfamiliar: str, model_version: str, error: str
) -> Row:
    if error:
        return Row(file, None, None, None, None, model_version, error)
    doubts = json.loads(uncertain), json.loads(unfamiliar or "null")
    return Row(file, label, float(probability), *doubts, model_version, None)
