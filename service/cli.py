"""The command line `seefood`: serve, and the commands that other packages add."""

import contextlib
import os
import resource
import socket
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import click

from service.errors import SeeFoodError, in_words
from service.feedback import open_feedback
from service.model import open_model
from service.photo import printable
from service.serving import STARTED_WITH
from service.settings import Settings

_UNUSABLE = 2  # the exit status of every command that ends with a sentence


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
@click.option("--model", help="Version, phone or ONNX file to serve; SEEFOOD_MODEL, else the current version.")
def serve(**given: str | int | None) -> None:
    """Answer photos over HTTP, under gunicorn."""
    os.environ.update({f"SEEFOOD_{name.upper()}": str(value) for name, value in given.items() if value is not None})
    settings = Settings.from_env()
    _check_address(settings)
    _check_temporary_folder()
    settings.keys(), settings.origins()
    # Opened once before gunicorn is, so that what can't be served is one sentence.
    model = open_model(settings.models, settings.model, settings.device, settings.precision)
    open_feedback(settings, model)
    os.environ["SEEFOOD_DEVICE"] = model.device  # so that the service takes the same
    os.environ[STARTED_WITH] = "" if settings.model.endswith(".onnx") else model.metadata.version
    _allow_open_files()
    _make_paths_absolute(settings)
    config = Path(__file__).parent / "gunicorn.conf.py"
    click.echo(
        f"seefood: serving on http://{settings.host}:{settings.port} with the {model.device} (Ctrl-C stops)", err=True
    )
    # glibc makes an arena for nearly each of many threads, and each keeps what the largest photo in it took.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.chdir(config.parents[1])  # gunicorn imports modules from there, and another folder may have a `service` too
    # gunicorn takes this process over, so that signals reach it with nothing in between.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "gunicorn", "--config", str(config)])  # noqa: S606


def _make_paths_absolute(settings: Settings) -> None:
    """Make the paths in the settings absolute, because gunicorn runs in another folder than the command."""
    paths = {
        "MODELS": str(settings.models),
        "FEEDBACK_DIR": settings.feedback_dir,
        "API_KEYS_FILE": settings.api_keys_file,
    }
    if settings.model.endswith(".onnx"):
        paths["MODEL"] = settings.model
    os.environ.update({f"SEEFOOD_{name}": str(Path(path).absolute()) for name, path in paths.items() if path})


def _allow_open_files() -> None:
    """Allow as many connections as the system does; many systems begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _check_address(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except (OSError, OverflowError) as error:
        raise SeeFoodError(
            f"The address {settings.host}:{settings.port} can't be listened on ({error}); "
            "choose another with SEEFOOD_HOST and SEEFOOD_PORT."
        ) from error


def _check_temporary_folder() -> None:
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SeeFoodError(
            "No folder for temporary files can be written to; mount one at /tmp, or name one with TMPDIR."
        ) from error


if __name__ == "__main__":
    main()
