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

from service.errors import SeeFoodError, in_words
from service.registry import current_version

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
        with tempfile.TemporaryFile(dir=models) as file:
            file.write(b"\0")  # a full disk takes a new file, but nothing in it
    except OSError as error:
        raise SeeFoodError(f"The output folder {in_words(error, str(models))}") from error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError that names no file, as those of a full disk do, into a SeeFoodError that names the folder."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:  # such as a photo's, which is not the folder's fault
            raise
        raise SeeFoodError(in_words(error, str(folder))) from error


@contextmanager
def new_version(models: Path, name: str) -> Iterator[Path]:
    """Give a hidden folder to fill, which becomes the version when the block ends well and is removed otherwise.

    The first version of a registry becomes its current one; later ones wait for `promote`.

    Raises:
        SeeFoodError: the folder can't be written to.
    """
    with writing_to(models):
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=models))
        try:
            yield draft
            draft.chmod(0o755)
            for path in (*draft.rglob("*"), draft):
                _sync(path)
            draft.rename(models / name)
            _sync(models)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if not (models / "current").exists():
        promote(models, name, "the first version")


def promote(models: Path, name: str, why: str) -> None:
    """Make a version the current one, and remember why; raises SeeFoodError where there is no such version."""
    if name not in _names(models):
        raise SeeFoodError(f"There is no version {name} in {models}; `seefood models` lists them.")
    _switch(models, name, {"action": "promote", "why": why})


def rollback(models: Path) -> str:
    """Make the version current that was so before the current one, and return its name; raises SeeFoodError."""
    current = current_version(models)
    stack: list[str] = []
    for entry in _happened(_history(models), current):
        stack = [*stack, entry["version"]] if entry["action"] == "promote" else stack[:-1]
    if stack[-1:] != [current] or len(stack) < 2 or stack[-2] not in _names(models):
        raise SeeFoodError(
            f"{models / HISTORY} knows no version that was current before {current}; promote one by name."
        )
    _switch(models, stack[-2], {"action": "rollback", "why": f"back from {current}"})
    return stack[-2]


def _happened(entries: list[dict[str, str]], current: str) -> list[dict[str, str]]:
    """Leave out what was written down, but never came to be because of a crash."""
    then = [*(entry.get("before") for entry in entries[1:]), current]
    return [entry for entry, now in zip(entries, then, strict=False) if now in (None, entry["version"])]


def versions(models: Path) -> list[Version]:
    """List the versions of a registry, oldest first; raises SeeFoodError where one can't be read."""
    current = _current(models)
    return [Version(name, name == current, _metrics(models / name / METRICS)) for name in _names(models)]


def _current(models: Path) -> str:
    try:
        return current_version(models)
    except SeeFoodError:
        return ""


def _names(models: Path) -> list[str]:
    return sorted(path.parent.name for path in models.glob("[!.]*/" + METRICS))


def _metrics(path: Path) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("accuracy", "roc_auc"):
            float(metrics["validation"][name]["value"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeeFoodError(
            f"The figures {path} can't be read: {error!r}; restore that file, or remove the version's folder."
        ) from error
    return metrics


def _switch(models: Path, name: str, entry: dict[str, str]) -> None:
    """Write the history and then the current version: what fails before the last step has changed nothing served."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entries = [*_history(models), {"time": now, "version": name, "before": _current(models), **entry}]
    with writing_to(models):
        _replace(models / HISTORY, "".join(json.dumps(entry) + "\n" for entry in entries))
        _replace(models / "current", f"{name}\n")


def _replace(path: Path, text: str) -> None:
    """Rename a new file over the old one: a reader, or a crash, sees the one or the other and never half of it."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        _sync(draft)
        draft.replace(path)
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file or folder on the disk before anything relies on it: a rename may outlive a crash that it did not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _history(models: Path) -> list[dict[str, str]]:
    """Read the entries, oldest first; raises SeeFoodError."""
    path = models / HISTORY
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all({"version", "action"} <= entry.keys() for entry in entries):
            raise ValueError("an entry lacks its version or action")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError) as error:
        raise SeeFoodError(f"The history {path} can't be read: {error}; mend it, or remove it.") from error
    return entries
