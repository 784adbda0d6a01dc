"""Tables of text for a terminal."""

from collections.abc import Sequence

Row = tuple[str, ...]


def aligned(rows: Sequence[Row], right: Sequence[int] = ()) -> str:
    """Return rows as lines whose columns are as wide as their widest cell; those numbered in `right` end flush."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
