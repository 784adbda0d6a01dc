"""The registry `models/`: one folder a version, and a small file that names the current one."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import SeeFoodError
from service.model import current_version

METRICS = "metrics.json"


@dataclass(frozen=True)
class Version:
    """One version: its name, whether it is the current one, and what its metrics.json says."""

    name: str
    current: bool
    metrics: dict[str, Any]


def check_writable(models: Path) -> None:
    """Make the registry folder if need be; raises SeeFoodError where nothing can be written into it."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=models):
            pass
    except OSError as error:
        raise SeeFoodError(f"The output folder {models} can't be written to: {error.strerror}.") from error


@contextmanager
def new_version(models: Path, name: str) -> Iterator[Path]:
    """Give a hidden folder to fill, which becomes the version when the block ends well and is removed otherwise.

    The first version of a registry becomes its current one; later ones wait for `promote`.
    """
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=models))
    try:
        yield draft
        draft.chmod(0o755)
        draft.rename(models / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if not (models / "current").exists():
        promote(models, name)


def promote(models: Path, name: str) -> None:
    """Make a version the current one, in one step: a reader sees the old name or the new one, never half of it."""
    if name not in {version.name for version in versions(models)}:
        raise SeeFoodError(f"There is no version {name} in {models}; `seefood models` lists them.")
    draft = models / f".current-{os.getpid()}"
    draft.write_text(f"{name}\n", encoding="utf-8")
    draft.replace(models / "current")


def versions(models: Path) -> list[Version]:
    """List the versions of a registry, oldest first; raises SeeFoodError where the folder can't be read."""
    try:
        current = current_version(models)
    except SeeFoodError:
        current = ""
    try:
        found = sorted(path.parent for path in models.glob("[!.]*/" + METRICS))
        return [Version(path.name, path.name == current, json.loads((path / METRICS).read_text())) for path in found]
    except (OSError, ValueError) as error:
        raise SeeFoodError(f"The registry {models} can't be read: {error}.") from error
