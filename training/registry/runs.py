"""Runs: a folder with the checkpoints of each training run, in the registry folder, and errors of its disk."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from service.errors import SeeFoodError, describe_os_error

RUNS = ".runs"  # in the registry folder


def check_writable(models: Path) -> None:
    """Create the registry folder if needed; raises SeeFoodError if it can't be written to."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=models) as file:
            file.write(b"\0")  # a full disk allows an empty file
    except OSError as error:
        raise SeeFoodError(f"The output folder {describe_os_error(error, str(models))}") from error


def new_run(models: Path) -> str:
    """Create the folder of a new run, and return its name: the time in UTC, to the second."""
    while True:
        name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        try:
            (models / RUNS / name).mkdir(parents=True)
        except FileExistsError:
            time.sleep(0.2)  # another run started in the same second
        else:
            return name


def require_unfinished(models: Path, run: str) -> None:
    """Raise SeeFoodError if there is no such run, or if it is complete."""
    if not (models / RUNS / run).is_dir():
        raise SeeFoodError(f"There is no run {run} in {models / RUNS}; check --resume.")
    if (models / run).exists():
        raise SeeFoodError(f"The run {run} is complete; its version is {models / run}.")


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError without a file name, such as that of a full disk, into a SeeFoodError that names the folder."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:  # another file, such as a photo
            raise
        raise SeeFoodError(describe_os_error(error, str(folder))) from error
