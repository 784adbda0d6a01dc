"""Table of the versions of a registry: backbone, validation metrics and state."""

import re
from collections.abc import Mapping
from pathlib import Path

from service.registry import CURRENT
from training.registry.store import Version, read_history
from training.terminal import Row, align

_METRICS = {"accuracy": "ACCURACY", "roc_auc": "ROC AUC"}  # on the validation photos


def tabulate(models: Path, versions: list[Version], columns: int) -> str:
    """Return the table, with intervals if they fit into `columns` characters; raises SeeFoodError."""
    wide = _table(models, versions, intervals=True)
    return wide if max(map(len, wide.splitlines())) <= columns else _table(models, versions, intervals=False)


def _table(models: Path, versions: list[Version], intervals: bool) -> str:
    promoted = {entry["version"] for entry in read_history(models)}
    rows: list[Row] = [("  VERSION", "BACKBONE", *_METRICS.values(), "STATE")]
    for version in versions:
        validation = version.metrics["validation"]
        rows.append(
            (
                f"{'*' if CURRENT in version.pointers else ' '} {version.name}",
                _backbone(models / version.name),
                *(_cell(validation[name], intervals) for name in _METRICS),
                ", ".join(version.pointers) or ("former" if version.name in promoted else "candidate"),
            )
        )
    if not any(row[1] for row in rows[1:]):
        rows = [(row[0], *row[2:]) for row in rows]
    return align(rows)


def _cell(metric: Mapping[str, float], interval: bool) -> str:
    if interval and {"low", "high"} <= set(metric):
        return "{value:.3f} ({low:.3f} - {high:.3f})".format(**metric)
    return f"{metric['value']:.3f}"


def _backbone(version: Path) -> str:
    """Return the backbone in the front matter of a version's card; empty if it can't be read."""
    try:
        front = (version / "card.md").read_text(encoding="utf-8").split("---\n")[1]
    except (OSError, ValueError, IndexError):
        return ""
    named = re.search(r"^backbone: (.+)$", front, re.MULTILINE)
    return named[1] if named else ""
