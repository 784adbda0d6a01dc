"""The command `seefood predict`: classify photo files without a server."""

import io
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from scoring.bulk import predict_into
from scoring.score import score
from scoring.sources import Address, address
from service.errors import SeeFoodError
from service.model import Model, open_model
from service.photo import find_photos, printable, utf8
from service.settings import Settings

_UNREADABLE = 2  # the exit status if a photo can't be read
_DOUBTS = ", uncertain, unfamiliar"


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(), metavar="PHOTO_OR_FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line instead of a table.")
@click.option("--model", default="", help="Version, pointer or ONNX file.  [default: SEEFOOD_MODEL, else current]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write: .csv, .jsonl or .parquet. Photos that have a row in it are skipped.",
)
@click.option("--ray", metavar="ADDRESS", help="Score on a Ray cluster: HOST:PORT, auto or local.")
def predict(photos: tuple[str, ...], as_json: bool, model: str, out: Path | None, ray: str | None) -> None:
    """Classify photos. The exit status is 2 if a photo is missing or can't be read."""
    if out is None and ray is not None:
        raise SeeFoodError("--ray requires --out; add --out FILE.")
    if out is not None and as_json:
        raise SeeFoodError("--json can't be combined with --out; omit one of them.")
    named = [address(photo) for photo in photos]
    if out is None and any(isinstance(each, str) for each in named):
        raise SeeFoodError("URLs require --out; add --out FILE.")
    settings = Settings.from_env()
    device = "cpu" if ray else settings.device  # the workers of a cluster run the model on CPUs
    opened = open_model(settings.models, model or settings.model, device, settings.precision)
    if out is None:
        _print(opened, _expand(named), as_json)
    elif not predict_into(out, opened, named, partial(_score_on(ray) if ray else score, opened)):
        sys.exit(_UNREADABLE)


def _score_on(cluster: str) -> Any:
    try:
        from scoring.cluster import score_on
    except ImportError as error:
        raise SeeFoodError("--ray requires Ray; run pip install '.[bulk]' in a clone.") from error
    return partial(score_on, cluster)


def _print(opened: Model, photos: Iterator[Address], as_json: bool) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name can have characters that the locale lacks
    labels = opened.metadata.labels
    chance = f"P({labels[0]})"
    width = max(map(len, labels)) + len(_DOUBTS)
    if not as_json:
        click.echo(f"{'VERDICT':{width}}  {chance}  PHOTO")
    unreadable = 0
    for path, outcome in score(opened, photos):
        name = printable(path)
        if isinstance(outcome, str):
            unreadable += 1
            click.echo(f"seefood: {name}: {outcome}", err=True)
        elif as_json:
            click.echo(json.dumps({"file": utf8(path), **outcome.as_dict(labels[0])}))
        else:
            verdict = outcome.label + ", uncertain" * outcome.uncertain + ", unfamiliar" * bool(outcome.unfamiliar)
            click.echo(f"{verdict:{width}}  {outcome.probability:{len(chance)}.1%}  {name}")
    if unreadable:
        sys.exit(_UNREADABLE)


def _expand(photos: list[Address]) -> Iterator[Address]:
    for path in photos:
        if isinstance(path, str) or not path.is_dir():
            yield path
        elif found := find_photos(path):
            yield from found
        else:
            raise SeeFoodError(f"No photos found in {path}.")
