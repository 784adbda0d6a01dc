"""Runs: a folder with the checkpoints of each training run, in the registry folder."""

import time
from datetime import UTC, datetime
from pathlib import Path

from service.errors import SeeFoodError

RUNS = ".runs"  # in the registry folder


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
