"""The lines of photos in the index: added, found and deleted."""

import hashlib
import hmac
import sqlite3
import time
from dataclasses import astuple

import numpy as np

from service.inbox.index import InboxFull, secret
from service.inbox.records import ModelVerdict
from service.inbox.votes import update_rank
from service.phash import NEAR_BITS

_BLOCK = 4096  # bytes: a file takes whole blocks of a disk


def insert(
    db: sqlite3.Connection,
    name: str,
    size: int,
    phash: int | None,
    reason: str,
    senders: tuple[str, str],
    verdict: ModelVerdict | None = None,
) -> int:
    """Add a photo by the name of its file, with the names of its sender and address; return its number."""
    digest, _, suffix = name.partition(".")
    seen = astuple(verdict) if verdict else (None,) * 5
    signed = None if phash is None else int(np.uint64(phash).astype(np.int64))  # SQLite has no unsigned integers
    values = (digest, f".{suffix}", size, signed, time.time(), reason, *senders, *seen)
    names = "digest, suffix, bytes, phash, received, reason, sender, address, model, positive, label, probability"
    marks = ", ".join("?" * len(values))
    done = db.execute(f"INSERT INTO photos ({names}, unfamiliar, rank) VALUES ({marks}, 0)", values)  # noqa: S608
    number = int(done.lastrowid or 0)
    update_rank(db, number)
    return number


def same_picture(db: sqlite3.Connection, digest: str, phash: int | None) -> int | None:
    """Return the number of the photo with the same bytes, else of the nearest one within NEAR_BITS."""
    if found := db.execute("SELECT id FROM photos WHERE digest = ?", (digest,)).fetchone():
        return int(found[0])
    rows = db.execute("SELECT id, phash FROM photos WHERE phash IS NOT NULL").fetchall()
    if phash is None or not rows:
        return None
    hashes = np.array([row["phash"] for row in rows], np.int64).astype(np.uint64)
    distances = np.bitwise_count(hashes ^ np.uint64(phash))
    nearest = int(distances.argmin())
    return int(rows[nearest]["id"]) if distances[nearest] <= NEAR_BITS else None


def has_vote(db: sqlite3.Connection, photo: int, sender: str, label: str) -> bool:
    """Return whether a sender has this vote for a photo."""
    query = "SELECT 1 FROM votes WHERE photo = ? AND sender = ? AND label = ?"
    return db.execute(query, (photo, sender, label)).fetchone() is not None


def make_receipt(db: sqlite3.Connection, number: int) -> str:
    """Return the receipt of a vote, which only this inbox can make."""
    return f"{number}.{hmac.new(secret(db), f'receipt {number}'.encode(), hashlib.sha256).hexdigest()}"


def make_room(db: sqlite3.Connection, size: int, max_bytes: int) -> list[str]:
    """Delete lines of dropped photos, then of waiting ones, the oldest first, until a photo fits.

    Returns:
        The names of their files.

    Raises:
        InboxFull: too much is accepted.
    """
    blocks = f"(bytes + {_BLOCK - 1}) / {_BLOCK} * {_BLOCK}"
    used = int(db.execute(f"SELECT COALESCE(SUM({blocks}), 0) FROM photos").fetchone()[0])  # noqa: S608
    excess = used + -(-size // _BLOCK) * _BLOCK - max_bytes
    evicted: list[str] = []
    rows = db.execute(
        f"SELECT id, digest, suffix, state, {blocks} AS size FROM photos WHERE state != 'accepted' "  # noqa: S608
        "ORDER BY state = 'waiting', received, id"
    )
    for row in rows.fetchall() if 0 < excess <= used else []:
        if excess <= 0:
            break
        excess -= row["size"]
        db.execute("DELETE FROM photos WHERE id = ?", (row["id"],))
        evicted.append(row["digest"] + row["suffix"])
    if excess > 0:
        reason = f"the limit of {max_bytes:,} bytes is reached"
        raise InboxFull(f"The inbox is full: {reason}; raise SEEFOOD_FEEDBACK_MAX_BYTES.", reason)
    return evicted
