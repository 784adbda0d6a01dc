"""One result per photo, and its form as a line of JSON."""

import json
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_LINE_START = b'{"file": "'


class Row(NamedTuple):
    """The result of one photo.

    Attributes:
        file: path or URL of the photo, as `service.photo.utf8` writes it.
        label, probability, uncertain: the verdict, with P(positive) in [0, 1]; None if the photo can't be read.
        unfamiliar: whether the photo differs from the training photos; None if unreadable or if the model can't tell.
        model_version: version of the model that scored the photo.
        error: reason why the photo can't be read, else None.
    """

    file: str
    label: str | None
    probability: float | None
    uncertain: bool | None
    unfamiliar: bool | None
    model_version: str
    error: str | None


def encode(row: Row) -> bytes:
    """Return a row as one line of JSON."""
    return json.dumps(row._asdict()).encode() + b"\n"


def decode(file: BinaryIO) -> Iterator[tuple[Row, int]]:
    """Yield each complete row and the position after it; an incomplete last line is left out.

    Raises:
        ValueError, TypeError: a line is not a row.
    """
    end = 0
    for line in file:
        if not line.endswith(b"\n"):
            if not _LINE_START.startswith(line[: len(_LINE_START)]):
                raise ValueError(f"The last line starts with {line[: len(_LINE_START)]!r}.")
            return
        end += len(line)
        yield Row(**json.loads(line)), end
