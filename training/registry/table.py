"""The versions of a registry as a table: which pointers name each, what it is made of, and what it measured."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import SeeFoodError
from service.registry import CURRENT
from training.registry.store import HISTORY, Version
from training.text_table import Row, aligned

_FIGURES = {"accuracy": "ACCURACY", "roc_auc": "ROC AUC"}  # on the validation photos


def tabulate(models: Path, versions: list[Version], columns: int) -> str:
    """Return the table, with the figures' intervals where so many columns hold them; raises SeeFoodError."""
    wide = _table(models, versions, intervals=True)
    return wide if max(map(len, wide.splitlines())) <= columns else _table(models, versions, intervals=False)


def _table(models: Path, versions: list[Version], intervals: bool) -> str:
    promoted = _promoted(models)
    rows: list[Row] = [("  VERSION", "BACKBONE", *_FIGURES.values(), "STATE")]
    for version in versions:
        measured = version.metrics["validation"]
        rows.append(
            (
                f"{'*' if CURRENT in version.pointers else ' '} {version.name}",
                _backbone(models / version.name),
                *(_figure(measured[name], intervals) for name in _FIGURES),
                ", ".join(version.pointers) or ("former" if version.name in promoted else "candidate"),
            )
        )
    if not any(row[1] for row in rows[1:]):
        rows = [(row[0], *row[2:]) for row in rows]
    return aligned(rows)


def _figure(measured: Mapping[str, float], interval: bool) -> str:
    if interval and {"low", "high"} <= set(measured):
        return "{value:.3f} ({low:.3f} - {high:.3f})".format(**measured)
    return f"{measured['value']:.3f}"


def _backbone(version: Path) -> str:
    """Return the backbone that the front matter of a version's card names; empty where there is none to read."""
    try:
        front = (version / "card.md").read_text(encoding="utf-8").split("---\n")[1]
    except (OSError, ValueError, IndexError):
        return ""
    named = re.search(r"^backbone: (.+)$", front, re.MULTILINE)
    return named[1] if named else ""


def _promoted(models: Path) -> set[str]:
    """Return the versions that a pointer has named at some time."""
    try:
        lines = (models / HISTORY).read_text(encoding="utf-8").splitlines()
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return {entry["version"] for entry in entries}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeeFoodError(f"The history {models / HISTORY} can't be read: {error}.") from error
