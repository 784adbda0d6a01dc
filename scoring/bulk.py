"""Score any number of photos into one file, with a progress bar, from where the last run ended."""

import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

from scoring.results import Results, open_results
from scoring.rows import Row
from scoring.score import Answer
from scoring.sources import Address, name, walk
from service.errors import SeeFoodError
from service.model import Model
from service.photo import printable

Score = Callable[[Iterator[Address]], Generator[tuple[Address, Answer], None, None]]

_SECONDS = 30  # between lines where there is no terminal to draw a bar on


class Stopped(SeeFoodError):
    """Ctrl-C ended the run; the message says how to go on."""

    status = 130


def predict_into(path: Path, model: Model, photos: Sequence[Address], score: Score) -> bool:
    """Write a row for each photo that a file of results lacks, and say how many it has of which; True if all are read.

    Photos are walked twice, first to count them: no list of them is ever held.

    Raises:
        Stopped: by Ctrl-C.
        SeeFoodError: there are no photos, or the file can't be written, as `open_results` says.
    """
    try:
        with open_results(path, model.metadata.version) as results:
            _complete(results, model, photos, score)
    except KeyboardInterrupt as error:
        raise Stopped(f"Stopped; the same command goes on from what is in {path}.") from error
    click.echo(f"seefood: {_summary(model, results)}; written to {printable(path)}.", err=True)
    return not results.counts[None]


def _complete(results: Results, model: Model, photos: Sequence[Address], score: Score) -> None:
    def missing() -> Iterator[Address]:
        return (photo for photo in walk(photos) if name(photo) not in results)

    count = sum(1 for _ in missing())
    if not count and not results.counts:
        raise SeeFoodError(f"{', '.join(map(str, photos))} has no photos in it.")
    with _progress(count) as advance, closing(score(missing())) as answers:
        for photo, answer in answers:
            results.add(_row(model, photo, answer))
            advance()


def _row(model: Model, photo: Address, answer: Answer) -> Row:
    version = model.metadata.version
    if isinstance(answer, str):
        return Row(name(photo), None, None, None, None, version, answer)
    probability = round(answer.probability, 6)
    return Row(name(photo), answer.label, probability, answer.uncertain, answer.unfamiliar, version, None)


def _summary(model: Model, results: Results) -> str:
    labels = model.metadata.positive_label, model.metadata.negative_label
    of_each = ", ".join(f"{results.counts[label]:,} {label}" for label in labels)
    doubts = f"{results.uncertain:,} uncertain"
    if model.metadata.familiarity_level is not None:
        doubts += f", {results.unfamiliar:,} unfamiliar"
    return f"{of_each} ({doubts}), {results.counts[None]:,} unreadable"


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """Give what is called after each photo: it moves a bar on a terminal, and elsewhere writes a line now and then."""
    if sys.stderr.isatty():
        began, done = time.monotonic(), 0

        def rate(_: object) -> str:
            return f"{done / (time.monotonic() - began):.1f}/s"

        with click.progressbar(
            length=count, update_min_steps=max(1, count // 1000), show_pos=True, item_show_func=rate, file=sys.stderr
        ) as bar:

            def move() -> None:
                nonlocal done
                done += 1
                bar.update(1, done)

            yield move
    else:
        yield _Lines(count).advance


class _Lines:
    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._began = self._said = time.monotonic()

    def advance(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._said >= _SECONDS:
            self._said = now
            rate = self._done / (now - self._began)
            left = (self._count - self._done) / rate
            click.echo(
                f"seefood: {self._done:,} of {self._count:,} photos, {rate:.1f}/s, {left:,.0f} seconds left", err=True
            )
