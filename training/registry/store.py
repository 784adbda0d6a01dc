"""The registry `models/`: one folder a version, and small files, pointers, that each name one."""

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

from filelock import FileLock, Timeout

from service.errors import SeeFoodError, in_words
from service.registry import CURRENT, POINTERS, version_of

METRICS = "metrics.json"
HISTORY = "history.jsonl"
LOCK = ".lock"  # an empty file, which stays
_PATIENCE = 30  # seconds


@dataclass(frozen=True)
class Version:
    """One version: its name, the pointers that name it, and what its metrics.json says."""

    name: str
    pointers: tuple[str, ...]
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
    if not (models / CURRENT).exists():
        promote(models, name, "the first version")


def promote(models: Path, name: str, why: str, pointer: str = CURRENT) -> None:
    """Have a pointer name a version, and remember why; raises SeeFoodError where there is no such version."""
    if name not in _names(models):
        raise SeeFoodError(f"There is no version {name} in {models}; `seefood models` lists them.")
    with _alone(models):
        _switch(models, pointer, name, {"action": "promote", "why": why})


def rollback(models: Path, pointer: str = CURRENT) -> str:
    """Have a pointer name the version that it named before, and return that; raises SeeFoodError."""
    with _alone(models):
        now = version_of(models, pointer)
        stack: list[str] = []
        for entry in _happened(_history(models), pointer, now):
            stack = [*stack, entry["version"]] if entry["action"] == "promote" else stack[:-1]
        if stack[-1:] != [now] or len(stack) < 2 or stack[-2] not in _names(models):
            raise SeeFoodError(
                f"{models / HISTORY} knows no version that was {pointer} before {now}; promote one by name."
            )
        _switch(models, pointer, stack[-2], {"action": "rollback", "why": f"back from {now}"})
        return stack[-2]


def _happened(history: list[dict[str, str]], pointer: str, now: str) -> list[dict[str, str]]:
    """Return a pointer's entries without those that were written down, but never came to be because of a crash."""
    entries = [entry for entry in history if entry.get("pointer", CURRENT) == pointer]
    then = [*(entry.get("before") for entry in entries[1:]), now]
    return [entry for entry, named in zip(entries, then, strict=False) if named in (None, entry["version"])]


def versions(models: Path) -> list[Version]:
    """List the versions of a registry, oldest first; raises SeeFoodError where one can't be read."""
    named = {pointer: _named(models, pointer) for pointer in POINTERS}
    return [
        Version(name, tuple(each for each in POINTERS if named[each] == name), _metrics(models / name / METRICS))
        for name in _names(models)
    ]


def _named(models: Path, pointer: str) -> str:
    try:
        return version_of(models, pointer)
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


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    """Let one process at a time change pointers and history: two that read the same history would lose an entry."""
    try:
        with writing_to(models), FileLock(models / LOCK, timeout=_PATIENCE):
            yield
    except Timeout as error:
        raise SeeFoodError(f"Another command has been changing {models} for {_PATIENCE} seconds; try again.") from error


def _switch(models: Path, pointer: str, name: str, entry: dict[str, str]) -> None:
    """Write the history and then the pointer: what fails before the last step has changed nothing served."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"time": now, "version": name, "pointer": pointer, "before": _named(models, pointer)}
    entries = [*_history(models), {**about, **entry}]
    with writing_to(models):
        _replace(models / HISTORY, "".join(json.dumps(entry) + "\n" for entry in entries))
        _replace(models / pointer, f"{name}\n")


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
