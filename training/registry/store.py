"""The model registry: folders of runs and versions, pointer files that name a version, the history of promotions."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from service.errors import SeeFoodError, describe_os_error
from service.registry import CURRENT, POINTERS, SHADOW, version_of

RUNS = ".runs"  # folder of the checkpoints of each run
METRICS = "metrics.json"
HISTORY = "history.jsonl"
LOCK = ".lock"  # an empty file
_LOCK_TIMEOUT = 30  # seconds


@dataclass(frozen=True)
class Version:
    """A version: its name, the pointers that name it, and the content of its metrics.json."""

    name: str
    pointers: tuple[str, ...]
    metrics: dict[str, Any]


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


@contextmanager
def new_version(models: Path, name: str) -> Iterator[Path]:
    """Yield a hidden folder to fill; it becomes the version at the end of the block, or is removed after an error.

    The first version of a registry becomes the current one; later ones need `promote`.

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
    """Set a pointer to a version, and record the reason; raises SeeFoodError if there is no such version."""
    if name not in _names(models):
        raise SeeFoodError(f"There is no version {name} in {models}; `seefood models` lists them.")
    with _locked(models):
        _switch(models, pointer, name, {"action": "promote", "why": why})


def rollback(models: Path, pointer: str = CURRENT) -> str:
    """Set a pointer to its previous version, and return that version; raises SeeFoodError."""
    with _locked(models):
        now = version_of(models, pointer)
        stack: list[str] = []
        for entry in _completed(read_history(models), pointer, now):
            stack = [*stack, entry["version"]] if entry["action"] == "promote" else stack[:-1]
        if stack[-1:] != [now] or len(stack) < 2 or stack[-2] not in _names(models):
            raise SeeFoodError(
                f"{models / HISTORY} has no version that was {pointer} before {now}; promote one by name."
            )
        _switch(models, pointer, stack[-2], {"action": "rollback", "why": f"back from {now}"})
        return stack[-2]


def set_shadow(models: Path, name: str | None) -> None:
    """Name the candidate that services compare with what they serve, None for none; raises SeeFoodError."""
    if name is not None and name not in _names(models):
        raise SeeFoodError(f"There is no version {name} in {models}; `seefood models` lists them.")
    with _locked(models), writing_to(models):
        if name is None:
            (models / SHADOW).unlink(missing_ok=True)
        else:
            _replace(models / SHADOW, f"{name}\n")


def _completed(history: list[dict[str, str]], pointer: str, now: str) -> list[dict[str, str]]:
    """Return the entries of a pointer without those whose switch a crash prevented."""
    entries = [entry for entry in history if entry.get("pointer", CURRENT) == pointer]
    actual = [*(entry.get("before") for entry in entries[1:]), now]  # the version after each entry
    return [entry for entry, version in zip(entries, actual, strict=False) if version in (None, entry["version"])]


def versions(models: Path) -> list[Version]:
    """List the versions of a registry, oldest first; raises SeeFoodError if one can't be read."""
    named = {pointer: _pointed_to(models, pointer) for pointer in (*POINTERS, SHADOW)}
    return [
        Version(name, tuple(each for each in named if named[each] == name), _metrics(models / name / METRICS))
        for name in _names(models)
    ]


def _pointed_to(models: Path, pointer: str) -> str:
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
            f"The metrics {path} can't be read: {error!r}; restore that file, or remove the version's folder."
        ) from error
    return metrics


@contextmanager
def _locked(models: Path) -> Iterator[None]:
    """Lock pointers and history, because two processes that write the history would lose an entry."""
    try:
        with writing_to(models), FileLock(models / LOCK, timeout=_LOCK_TIMEOUT):
            yield
    except Timeout as error:
        raise SeeFoodError(f"Another command has locked {models} for {_LOCK_TIMEOUT} seconds; try again.") from error


def _switch(models: Path, pointer: str, name: str, entry: dict[str, str]) -> None:
    """Write the history, then the pointer; an error before the last step does not change what is served."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fields = {"time": now, "version": name, "pointer": pointer, "before": _pointed_to(models, pointer)}
    entries = [*read_history(models), {**fields, **entry}]
    with writing_to(models):
        _replace(models / HISTORY, "".join(json.dumps(entry) + "\n" for entry in entries))
        _replace(models / pointer, f"{name}\n")


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically: after a crash, it is the old file or the new one."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        _sync(draft)
        draft.replace(path)
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, so that a later rename can't be saved without it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_history(models: Path) -> list[dict[str, str]]:
    """Read the entries of the history, oldest first; raises SeeFoodError."""
    path = models / HISTORY
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(entry.get("version"), str) and "action" in entry for entry in entries):
            raise ValueError("an entry has no version or action")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError) as error:
        raise SeeFoodError(f"The history {path} can't be read: {error}; repair it, or remove it.") from error
    return entries
