"""Read and write results as CSV: RFC 4180 in UTF-8, with a header row and lines that end in a newline."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from scoring.rows import Row


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; raises ValueError or TypeError if `write_rows` did not write it."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            if tuple(next(lines, ())) != Row._fields:
                raise ValueError("The header row is different.")
            for cells in lines:
                yield _row(*cells)
        except csv.Error as error:
            raise ValueError(str(error)) from error


def write_rows(path: Path, rows: Iterator[Row]) -> None:
    """Write a new file; None becomes an empty cell, and booleans are written as in JSON. Raises OSError."""
    with path.open("w", encoding="utf-8", newline="") as file:
        plain, quoted = (
            csv.writer(file, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        plain.writerow(Row._fields)
        for row in rows:
            # Readers end a row at a carriage return, but the writer quotes only the characters of its own line ends.
            writer = quoted if any("\r" in cell for cell in row if isinstance(cell, str)) else plain
            writer.writerow([str(cell).lower() if isinstance(cell, bool) else cell for cell in row])


def _row(
    file: str, label: str, probability: str, uncertain: str, unfamiliar: str, model_version: str, error: str
) -> Row:
    if error:
        return Row(file, None, None, None, None, model_version, error)
    doubts = json.loads(uncertain), json.loads(unfamiliar or "null")
    return Row(file, label, float(probability), *doubts, model_version, None)
