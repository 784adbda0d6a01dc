"""Output of the commands on a terminal: tables, metrics, and the log lines of training."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

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


def print_metrics(metrics: Mapping[str, object]) -> None:
    """Print one line for each metric."""
    for name, metric in metrics.items():
        click.echo(f"  {name.replace('_', ' '):20} {metric}")


@contextmanager
def log_to_stderr(level: int) -> Iterator[None]:
    """Write the log lines of training to stderr, without prefix, until the block ends."""
    logger, handler = logging.getLogger("training"), logging.StreamHandler(sys.stderr)
    old_level = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False  # a library adds a handler to the root logger during the export
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(old_level)
        logger.propagate = True
