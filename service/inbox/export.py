"""Takes photos out of an inbox: those that are accepted for training, and those that are too old to keep."""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from service.errors import SeeFoodError
from service.inbox.index import audit
from service.inbox.records import ACCEPTED, Decision
from service.inbox.store import INDEX, Inbox
from service.photo import printable


@dataclass(frozen=True)
class Accepted:
    """An accepted photo: its file, the SHA-256 of its bytes in hex, its label, and the time of the decision."""

    path: Path
    digest: str
    label: str
    decided: float


def accepted(inbox: Inbox) -> list[Accepted]:
    """Return the accepted photos in the order of their decisions; raises InboxError."""
    query = "SELECT digest, suffix, decided_label, decided FROM photos WHERE state = ? ORDER BY decided, id"
    with inbox.index.reading() as db:
        rows = db.execute(query, (ACCEPTED,)).fetchall()
    return [
        Accepted(inbox.path(row["digest"] + row["suffix"]), row["digest"], row["decided_label"], row["decided"])
        for row in rows
    ]


def export(inbox: Inbox, folder: Path) -> dict[str, int]:
    """Copy the accepted photos into a new image folder, with one subfolder for each label.

    Returns:
        The number of photos of each label.

    Raises:
        SeeFoodError: the folder exists already, no photo is accepted, or the inbox can't be used.
        OSError: a file can't be copied; then there is no folder.
    """
    if folder.exists():
        raise SeeFoodError(f"{folder} exists already; name a new folder.")
    found = accepted(inbox)
    if not found:
        raise SeeFoodError(f"No photo of {inbox.folder} is accepted yet; review it first.")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    counts: dict[str, int] = {}
    try:
        for each in found:
            if Path(each.label).name != each.label or each.label.startswith("."):
                raise SeeFoodError(f"The label {printable(each.label)!r} can't name a folder; correct the decision.")
            (part / each.label).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each.path, part / each.label / each.path.name)
            counts[each.label] = counts.get(each.label, 0) + 1
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return counts


def purge(inbox: Inbox, seconds: float, states: tuple[str, ...], who: str) -> int:
    """Delete the photos in these states that were received longer than so many seconds ago; returns their number.

    Raises:
        InboxError: the inbox can't be used.
    """
    with inbox.index.writing() as db:
        rows = db.execute(
            "DELETE FROM photos WHERE received < ? AND state IN (SELECT value FROM json_each(?)) RETURNING *",
            (time.time() - seconds, json.dumps(states)),
        ).fetchall()
        for row in rows:
            audit(db, who, row["digest"], Decision(row["state"], row["decided_label"]), "purged")
    inbox.tidy(row["digest"] + row["suffix"] for row in rows)
    return len(rows)


def holds(folder: Path) -> bool:
    """Return whether a folder is an inbox, or a folder inside one."""
    return any((each / INDEX).exists() for each in (folder, *Path(os.path.abspath(folder)).parents))  # noqa: PTH100
