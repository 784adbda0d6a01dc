"""Tables as text, for the terminal."""

from collections.abc import Sequence

Row = tuple[str, ...]


def align(rows: Sequence[Row], right: Sequence[int] = ()) -> str:
    """Return rows as lines with columns of equal width; the columns whose numbers are in `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def with_heading(rows: Sequence[Row]) -> str:
    """Return a table whose first row is the heading, in capitals; the second column is right-aligned."""
    return align([tuple(cell.upper() for cell in rows[0]), *rows[1:]], right=[1])
