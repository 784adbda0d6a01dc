"""Lists the photos of an inbox for reviewers, and records what they decide."""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.inbox.index import audit
from service.inbox.records import STATES, Decision
from service.inbox.store import Inbox

_CONDITIONS = {  # in SQL, for each attribute of a Filter
    "reason": "reason = :reason",
    "label": "label = :label",
    "sender": "(sender = :sender OR EXISTS (SELECT 1 FROM votes WHERE photo = photos.id AND sender = :sender))",
    "conflict": "(SELECT COUNT(DISTINCT label) FROM votes WHERE photo = photos.id) > 1",
    "disagree": "EXISTS (SELECT 1 FROM votes WHERE photo = photos.id AND votes.label != photos.label)",
}


@dataclass(frozen=True)
class Filter:
    """Which photos to list: None or false means any.

    Attributes:
        reason: why the photo was stored, as in `service.inbox.records`.
        label: the verdict of the model.
        sender: who sent the photo, or votes for it.
        conflict: whether senders disagree with each other.
        disagree: whether a sender disagrees with the model.
    """

    reason: str | None = None
    label: str | None = None
    sender: str | None = None
    conflict: bool = False
    disagree: bool = False

    def where(self) -> str:
        """Return the condition in SQL, with the attributes as named parameters."""
        chosen = [_CONDITIONS[name] for name, value in vars(self).items() if value not in (None, False)]
        return " AND ".join(["TRUE", *chosen])


def counts(inbox: Inbox, chosen: Filter) -> dict[str, int]:
    """Return the number of photos in each state; raises InboxError."""
    query = f"SELECT state, COUNT(*) FROM photos WHERE {chosen.where()} GROUP BY state"  # noqa: S608 - fixed parts
    with inbox.index.reading() as db:
        found = dict(tuple(row) for row in db.execute(query, vars(chosen)))
    return {state: found.get(state, 0) for state in STATES}


def photos(
    inbox: Inbox, chosen: Filter, state: str, count: int, after: tuple[float, int] | None = None
) -> list[dict[str, Any]]:
    """Return the photos in one state with their votes, those that are most worth a look first.

    Args:
        inbox: the inbox.
        chosen: which photos.
        state: as in `service.inbox.records`.
        count: maximum number of photos.
        after: rank and number of the last photo of the page before; None: the first page.

    Raises:
        InboxError: the inbox can't be used.
    """
    rank, number = after or (0, 0)
    further = "AND (rank < :after_rank OR rank = :after_rank AND id > :after_id)" if after else ""
    query = (
        f"SELECT * FROM photos WHERE state = :state AND {chosen.where()} {further} ORDER BY rank DESC, id LIMIT :count"  # noqa: S608
    )
    values = vars(chosen) | {"state": state, "count": count, "after_rank": rank, "after_id": number}
    with inbox.index.reading() as db:
        db.execute("BEGIN")  # both queries see the same state
        rows = db.execute(query, values).fetchall()
        votes = _votes(db, [row["id"] for row in rows])
    return [_as_dict(row, votes.get(row["id"], [])) for row in rows]


def find(inbox: Inbox, number: int) -> dict[str, Any] | None:
    """Return one photo by its number; None if there is none. Raises InboxError."""
    with inbox.index.reading() as db:
        row = db.execute("SELECT * FROM photos WHERE id = ?", (number,)).fetchone()
        return _as_dict(row, _votes(db, [number]).get(number, [])) if row else None


def decide(inbox: Inbox, decisions: Mapping[int, Decision], reviewer: str) -> dict[int, Decision]:
    """Record decisions about photos by their numbers, all of them or none.

    Returns:
        What was decided before about each photo that exists.

    Raises:
        InboxError: the inbox can't be used.
    """
    before: dict[int, Decision] = {}
    with inbox.index.writing() as db:
        for number, decision in decisions.items():
            row = db.execute("SELECT digest, state, decided_label FROM photos WHERE id = ?", (number,)).fetchone()
            if not row:
                continue
            before[number] = Decision(row["state"], row["decided_label"])
            if before[number] != decision:
                values = (decision.state, decision.label, time.time(), number)
                db.execute("UPDATE photos SET state = ?, decided_label = ?, decided = ? WHERE id = ?", values)
                audit(db, reviewer, row["digest"], before[number], decision)
    return before


def audit_lines(inbox: Inbox) -> list[dict[str, Any]]:
    """Return every decision, the oldest first: time, who, digest, before and after; raises InboxError."""
    with inbox.index.reading() as db:
        rows = db.execute("SELECT at, who, digest, before, after FROM audit ORDER BY id").fetchall()
    return [dict(row) | {"at": iso(row["at"])} for row in rows]


def iso(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _votes(db: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, list[dict[str, str]]]:
    query = "SELECT * FROM votes WHERE photo IN (SELECT value FROM json_each(?)) ORDER BY id"
    votes: dict[int, list[dict[str, str]]] = {}
    for row in db.execute(query, (json.dumps(numbers),)):
        one = {"sender": row["sender"], "label": row["label"], "time": iso(row["voted"])}
        votes.setdefault(row["photo"], []).append(one)
    return votes


def _as_dict(row: sqlite3.Row, votes: list[dict[str, str]]) -> dict[str, Any]:
    model = {"version": row["model"], "label": row["label"], "probability": row["probability"]}
    unfamiliar = None if row["unfamiliar"] is None else bool(row["unfamiliar"])
    return {
        "id": row["id"],
        "file": row["digest"] + row["suffix"],
        "received": iso(row["received"]),
        "reason": row["reason"],
        "sender": row["sender"],
        "model": model | {"unfamiliar": unfamiliar} if row["model"] else None,
        "votes": votes,
        "conflict": len({vote["label"] for vote in votes}) > 1,
        "rank": row["rank"],
        "state": row["state"],
        "label": row["decided_label"],
    }
