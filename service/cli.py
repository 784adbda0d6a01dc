"""The command line `seefood`: serve and predict, and the commands that an installed extra adds."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from service import metrics_folder
from service.bulk import predict_into
from service.errors import SeeFoodError, in_words
from service.feedback import open_feedback
from service.model import Model, open_model
from service.photo import find_photos, printable, utf8
from service.scoring import score
from service.settings import Settings
from service.sources import Address, address

_UNUSABLE = 2  # the exit status of every command that ends with a sentence
_DOUBT = ", uncertain"


class Commands(click.Group):
    """A group whose further commands come from the entry points `seefood.commands`, and whose errors are sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands of this module and those that other packages add."""
        return sorted({*super().list_commands(ctx), *entry_points(group="seefood.commands").names})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Find a command by name, here first."""
        found = super().get_command(ctx, name)
        if found is None:
            for entry in entry_points(group="seefood.commands", name=name):
                command: click.Command = entry.load()
                return command
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a person can mend ends it with one sentence and exit status 2."""
        try:
            return super().invoke(ctx)
        except SeeFoodError as error:
            fail(str(error), error.status)
        except OSError as error:
            if isinstance(error, BrokenPipeError):  # click knows that a reader like `head` may leave early
                raise
            fail(in_words(error))


def fail(sentence: str, status: int = _UNUSABLE) -> NoReturn:
    """End the program with one sentence on stderr, on one line whatever files it names."""
    click.echo(f"seefood: {printable(sentence)}", err=True)
    sys.exit(status)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seefood")
def main() -> None:
    """Hotdog or not hotdog: train, serve and ask an image classifier."""


@main.command()
@click.option("--host", help="Address to listen on; SEEFOOD_HOST, else 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; SEEFOOD_PORT, else 8000.")
@click.option("--model", help="Version or ONNX file to serve; SEEFOOD_MODEL, else the current version.")
def serve(**given: str | int | None) -> None:
    """Answer photos over HTTP, under gunicorn."""
    os.environ.update({f"SEEFOOD_{name.upper()}": str(value) for name, value in given.items() if value is not None})
    settings = Settings.from_env()
    _check_address(settings)
    settings.keys(), settings.origins()
    metrics_folder.check()
    # Opened once before any worker is, so that what can't be served is one sentence and not one a worker.
    model = open_model(settings.models, settings.model, settings.device, settings.precision)
    open_feedback(settings, model)
    os.environ["SEEFOOD_DEVICE"] = model.device  # so that every worker takes the same, and one serves a GPU
    config = Path(__file__).parent / "gunicorn.conf.py"
    click.echo(
        f"seefood: serving on http://{settings.host}:{settings.port} with the {model.device} (Ctrl-C stops)", err=True
    )
    # glibc makes an arena for nearly each of many threads, and each keeps what the largest photo in it took.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # gunicorn takes this process over, so that signals reach it with nothing in between.
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(config)])  # noqa: S606


def _check_address(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except (OSError, OverflowError) as error:
        raise SeeFoodError(
            f"The address {settings.host}:{settings.port} can't be listened on ({error}); "
            "choose another with SEEFOOD_HOST and SEEFOOD_PORT."
        ) from error


@main.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(), metavar="PHOTO_OR_FOLDER...")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line instead of a table.")
@click.option("--model", default="", help="Version or ONNX file; SEEFOOD_MODEL, else the current version.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write .csv, .jsonl or .parquet; again: only what it lacks."
)
@click.option("--ray", metavar="ADDRESS", help="Score on a Ray cluster: HOST:PORT, auto or local.")
def predict(photos: tuple[str, ...], as_json: bool, model: str, out: Path | None, ray: str | None) -> None:
    """Say what photos show. Exit status 2 where one is missing or can't be read."""
    if out is None and ray is not None:
        raise SeeFoodError("--ray scores into a file; name one with --out.")
    if out is not None and as_json:
        raise SeeFoodError("--json prints and --out writes; leave one of them out.")
    settings = Settings.from_env()
    device = "cpu" if ray else settings.device  # whose model is sent to the CPUs of the cluster
    opened = open_model(settings.models, model or settings.model, device, settings.precision)
    named = [address(photo) for photo in photos]
    if out is None:
        _print(opened, _expand(named), as_json)
    elif not predict_into(out, opened, named, partial(_score_on(ray) if ray else score, opened)):
        sys.exit(_UNUSABLE)


def _score_on(cluster: str) -> Any:
    try:
        from service.cluster import score_on
    except ImportError as error:
        raise SeeFoodError("--ray needs Ray; pip install 'seefood[bulk]'.") from error
    return partial(score_on, cluster)


def _print(opened: Model, photos: Iterator[Address], as_json: bool) -> None:
    labels = opened.metadata.positive_label, opened.metadata.negative_label
    chance = f"P({labels[0]})"
    width = max(map(len, labels)) + len(_DOUBT)
    if not as_json:
        click.echo(f"{'VERDICT':{width}}  {chance}  PHOTO")
    unreadable = 0
    for path, answer in score(opened, photos):
        name = printable(path)
        if isinstance(answer, str):
            unreadable += 1
            click.echo(f"seefood: {name}: {answer}", err=True)
            continue
        verdict = opened.verdict(answer)
        if as_json:
            click.echo(json.dumps({"file": utf8(path), **verdict.as_dict(labels[0])}))
        else:
            label = verdict.label + (_DOUBT if verdict.uncertain else "")
            click.echo(f"{label:{width}}  {answer:{len(chance)}.1%}  {name}")
    if unreadable:
        sys.exit(_UNUSABLE)


def _expand(photos: list[Address]) -> Iterator[Address]:
    for path in photos:
        if isinstance(path, str) or not path.is_dir():
            yield path
        elif found := find_photos(path):
            yield from found
        else:
            raise SeeFoodError(f"{path} has no photos in it.")


if __name__ == "__main__":
    main()
