"""Score any number of photos into one file, with progress; photos that have a row are skipped."""

import itertools
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

from scoring.results import Results, open_results
from scoring.rows import Row
from scoring.score import Outcome
from scoring.sources import Address, walk
from service.errors import SeeFoodError
from service.model import Model
from service.photo import printable, utf8

Score = Callable[[Iterator[Address]], Generator[tuple[Address, Outcome], None, None]]

_SECONDS = 30  # between two progress lines, if stderr is not a terminal


class Stopped(SeeFoodError):
    """Ctrl-C ended the run."""

    status = 130


def predict_into(path: Path, model: Model, photos: Sequence[Address], score: Score) -> bool:
    """Write a row for each photo that a file of results lacks, print a summary, and return whether all were readable.

    Photos are walked twice, first to count them, so that memory use does not grow with their number.

    Raises:
        Stopped: Ctrl-C was pressed.
        SeeFoodError: there are no photos, or the file can't be used (see `open_results`).
    """
    try:
        with open_results(path, model.metadata.version) as results:
            _score_missing(results, model, photos, score)
    except KeyboardInterrupt as error:
        raise Stopped(f"Stopped before {path} was complete; run the same command again to resume.") from error
    click.echo(f"seefood: {_summary(model, results)}; written to {printable(path)}.", err=True)
    return not results.counts[None]


def _score_missing(results: Results, model: Model, photos: Sequence[Address], score: Score) -> None:
    def missing() -> Iterator[Address]:
        return (photo for photo in walk(photos) if utf8(photo) not in results)

    count = sum(1 for _ in missing())
    if not count and not results.counts:
        raise SeeFoodError(f"No photos found in {', '.join(map(str, photos))}.")
    with _progress(count) as advance, closing(score(missing())) as outcomes:
        for photo, outcome in outcomes:
            results.add(_row(model, photo, outcome))
            advance()


def _row(model: Model, photo: Address, outcome: Outcome) -> Row:
    version = model.metadata.version
    if isinstance(outcome, str):
        return Row(utf8(photo), None, None, None, None, version, outcome)
    probability = round(outcome.probability, 6)
    return Row(utf8(photo), outcome.label, probability, outcome.uncertain, outcome.unfamiliar, version, None)


def _summary(model: Model, results: Results) -> str:
    of_each = ", ".join(f"{results.counts[label]:,} {label}" for label in model.metadata.labels)
    doubts = f"{results.uncertain:,} uncertain"
    if model.metadata.familiarity_level is not None:
        doubts += f", {results.unfamiliar:,} unfamiliar"
    return f"{of_each} ({doubts}), {results.counts[None]:,} unreadable"


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """Return a function to call after each photo: it moves a bar on a terminal, or else prints a line now and then."""
    numbers = itertools.count(1)
    began = printed = time.monotonic()

    def rate(done: int) -> float:
        return done / (time.monotonic() - began)

    def label(done: int | None) -> str:
        return f"{rate(done or 0):.1f}/s"

    def print_line() -> None:
        nonlocal printed
        done = next(numbers)
        if time.monotonic() - printed >= _SECONDS:
            printed = time.monotonic()
            left = (count - done) / rate(done)
            click.echo(f"seefood: {done:,} of {count:,} photos, {label(done)}, {left:,.0f} seconds left", err=True)

    if not sys.stderr.isatty():
        yield print_line
        return
    with click.progressbar(
        length=count,
        update_min_steps=max(1, count // 1000),
        show_pos=True,
        item_show_func=label,
        file=sys.stderr,
    ) as bar:
        yield lambda: bar.update(1, next(numbers))
