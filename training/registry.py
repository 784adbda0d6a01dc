"""The registry `models/`: one folder a version, and a small file that names the current one."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.errors import SeeFoodError
from service.model import current_version

METRICS = "metrics.json"
HISTORY = "history.jsonl"


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
        promote(models, name, "the first version")


def promote(models: Path, name: str, why: str) -> None:
    """Make a version the current one, and remember why; raises SeeFoodError where there is no such version."""
    if name not in {version.name for version in versions(models)}:
        raise SeeFoodError(f"There is no version {name} in {models}; `seefood models` lists them.")
    _switch(models, name, {"action": "promote", "why": why})


def rollback(models: Path) -> str:
    """Make the version current that was so before the current one, and return its name; raises SeeFoodError."""
    current = current_version(models)
    stack: list[str] = []
    for entry in _history(models):
        stack = [*stack, entry["version"]] if entry["action"] == "promote" else stack[:-1]
    there = {version.name for version in versions(models)}
    if stack[-1:] != [current] or len(stack) < 2 or stack[-2] not in there:
        raise SeeFoodError(
            f"{models / HISTORY} knows no version that was current before {current}; promote one by name."
        )
    _switch(models, stack[-2], {"action": "rollback", "why": f"back from {current}"})
    return stack[-2]


def _switch(models: Path, name: str, entry: dict[str, str]) -> None:
    """Rename the new file over the old one: a reader, or a crash, sees the one or the other and never half of it."""
    draft = models / f".current-{os.getpid()}"
    draft.write_text(f"{name}\n", encoding="utf-8")
    draft.replace(models / "current")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with (models / HISTORY).open("a", encoding="utf-8") as history:
        history.write(json.dumps({"time": now, "version": name, **entry}) + "\n")


def _history(models: Path) -> list[dict[str, str]]:
    try:
        return [json.loads(line) for line in (models / HISTORY).read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise SeeFoodError(f"The history {models / HISTORY} can't be read: {error}.") from error


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
