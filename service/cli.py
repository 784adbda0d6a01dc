"""The command `seefood`: `serve`, and the commands that other packages add by entry points."""

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

from service import __version__
from service.collector import CollectRules
from service.errors import SeeFoodError, describe_os_error
from service.inbox.cli import inbox
from service.inbox.store import create_inbox
from service.model import open_model
from service.model_manager import STARTUP_VERSION
from service.photo import printable
from service.settings import Settings

_ENTRY_POINTS = "seefood.commands"


class Commands(click.Group):
    """A group that adds commands from entry points, and prints an expected error as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *entry_points(group=_ENTRY_POINTS).names})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command by name: one of this module, else an entry point."""
        added = (entry.load() for entry in entry_points(group=_ENTRY_POINTS, name=name))
        return super().get_command(ctx, name) or next(added, None)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that the user can correct ends it with one sentence and exit status 2."""
        try:
            return super().invoke(ctx)
        except SeeFoodError as error:
            fail(str(error), error.status)
        except BrokenPipeError:  # click handles a closed pipe, as of `head`
            raise
        except OSError as error:
            fail(describe_os_error(error))


def fail(sentence: str, status: int = SeeFoodError.status) -> NoReturn:
    """Exit with one sentence on stderr; it stays on one line whatever file names it contains."""
    click.echo(f"seefood: {printable(sentence)}", err=True)
    sys.exit(status)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seefood")
def main() -> None:
    """Train, serve and run an image classifier for two labels, such as hotdog and not hotdog."""


main.add_command(inbox)


@main.command()
@click.option("--host", help="Address to listen on; default: SEEFOOD_HOST, or 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; default: SEEFOOD_PORT, or 8000.")
@click.option("--model", help="Version, phone or ONNX file to serve; default: SEEFOOD_MODEL, or the current version.")
def serve(**given: str | int | None) -> None:
    """Serve the model over HTTP with gunicorn."""
    os.environ.update({f"SEEFOOD_{name.upper()}": str(value) for name, value in given.items() if value is not None})
    settings = Settings.from_env()
    _check_address(settings)
    _check_temporary_folder()
    settings.keys(), settings.origins()
    CollectRules.parse(settings.collect), settings.review_keys(), create_inbox(settings)
    # The model is opened here too, so that an error is one sentence and not a log of gunicorn.
    model = open_model(settings.models, settings.model, settings.device, settings.precision)
    os.environ["SEEFOOD_DEVICE"] = model.device  # the service uses the same device
    os.environ[STARTUP_VERSION] = "" if settings.model.endswith(".onnx") else model.path.parent.name
    _allow_open_files()
    _make_paths_absolute(settings)
    config = Path(__file__).parent / "gunicorn.conf.py"
    click.echo(f"seefood: serving on http://{settings.address} on the device {model.device} (Ctrl-C stops)", err=True)
    # glibc creates a memory arena for nearly every thread, and each arena keeps the memory of its largest photo.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.chdir(config.parents[1])  # gunicorn imports from the current folder, which may have another `service`
    # gunicorn replaces this process, so that it receives signals directly.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "gunicorn", "--config", str(config)])  # noqa: S606


def _make_paths_absolute(settings: Settings) -> None:
    """Make the paths in the environment absolute, because gunicorn runs in another folder."""
    paths = {
        "MODELS": str(settings.models),
        "FEEDBACK_DIR": settings.feedback_dir,
        "API_KEYS_FILE": settings.api_keys_file,
        "MODEL": settings.model if settings.model.endswith(".onnx") else "",
    }
    os.environ.update({f"SEEFOOD_{name}": str(Path(path).absolute()) for name, path in paths.items() if path})


def _allow_open_files() -> None:
    """Raise the limit on open files, and so on connections, to the maximum; the usual default is 1,024."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _check_address(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except (OSError, OverflowError, TypeError) as error:  # TypeError: a name that IDNA can't encode
        raise SeeFoodError(
            f"The address {settings.address} can't be used ({error}); "
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
