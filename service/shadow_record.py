"""The record of the shadow: how often a candidate agreed with the served version; one SQLite file in the registry."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from service.errors import SeeFoodError

FILE = "shadow.sqlite"  # in the folder of the registry
_BUSY_SECONDS = 5  # to wait for another service that writes
_TABLE = """CREATE TABLE IF NOT EXISTS comparisons (
    candidate TEXT, served TEXT, photos INTEGER NOT NULL, agreed INTEGER NOT NULL, PRIMARY KEY (candidate, served)
) WITHOUT ROWID"""
# Each service adds what it has counted since its last write, so several services can share the file.
_ADD = """INSERT INTO comparisons VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
    SET photos = photos + excluded.photos, agreed = agreed + excluded.agreed"""
_READ = "SELECT photos, agreed FROM comparisons WHERE candidate = ? AND served = ?"


class Pair(NamedTuple):
    """The versions that are compared."""

    candidate: str
    served: str


class Comparison(NamedTuple):
    """The number of photos that both versions answered, and of those with the same label."""

    photos: int = 0
    agreed: int = 0


def add(models: Path, counts: Mapping[Pair, Comparison]) -> None:
    """Add counts to the record in one transaction; raises sqlite3.Error."""
    with closing(sqlite3.connect(models / FILE, timeout=_BUSY_SECONDS)) as db, db:
        db.execute(_TABLE)
        db.executemany(_ADD, [(*pair, *comparison) for pair, comparison in counts.items()])


def read(models: Path, pair: Pair) -> Comparison:
    """Return what is recorded of two versions; raises SeeFoodError."""
    path = models / FILE
    if not path.exists():
        return Comparison()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            row = db.execute(_READ, pair).fetchone()
    except sqlite3.Error as error:
        raise SeeFoodError(
            f"The record of the shadow {path} can't be read: {error}; remove it to start again."
        ) from error
    return Comparison(*row) if row else Comparison()
