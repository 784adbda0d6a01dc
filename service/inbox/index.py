"""The index of an inbox: one SQLite file that several processes of one machine read and write."""

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from service.errors import DISK_FULL, SeeFoodError, describe_os_error

_SCHEMA_VERSION = 1
_BUSY_SECONDS = 10  # to wait for another writer; a transaction takes milliseconds
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    # AUTOINCREMENT: the number of a deleted photo or vote is not used again, so that no receipt fits another one.
    """CREATE TABLE photos (
        id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, suffix TEXT NOT NULL, bytes INTEGER NOT NULL,
        phash INTEGER, received REAL NOT NULL, reason TEXT NOT NULL, sender TEXT NOT NULL, address TEXT NOT NULL,
        model TEXT, positive TEXT, label TEXT, probability REAL, unfamiliar INTEGER, rank REAL NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting', decided_label TEXT, decided REAL)""",
    "CREATE INDEX photos_by_rank ON photos (state, rank DESC, id)",
    """CREATE TABLE votes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, photo INTEGER NOT NULL REFERENCES photos ON DELETE CASCADE,
        sender TEXT NOT NULL, label TEXT NOT NULL, voted REAL NOT NULL, UNIQUE (photo, sender))""",
    "CREATE TABLE sent (who TEXT NOT NULL, at REAL NOT NULL)",
    "CREATE INDEX sent_by_who ON sent (who, at)",
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, digest TEXT NOT NULL,
        before TEXT NOT NULL, after TEXT NOT NULL)""",
    "CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are final'); END",
    "CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit lines are kept'); END",
)


class InboxError(SeeFoodError):
    """The inbox can't be used now; `reason` names no file, so that it may be shown to clients."""

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class InboxFull(InboxError):
    """There is no room for a photo: on the disk, or within the limit in bytes."""


class Index:
    """A SQLite file in WAL mode. Every transaction has its own connection, so the methods are thread-safe.

    A commit is on the disk before it returns. Readers do not wait for a writer, and one writer waits for another.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open a connection to read with; raises InboxError."""
        with self._described(), closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            if (version := _version(db)) == 0:
                _create(db)
            elif version != _SCHEMA_VERSION:
                sentence = f"The inbox {self.path} has the format {version}; update SeeFood, or name another folder."
                raise InboxError(sentence, "its format is not known to this version of the service")
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that no other one overlaps; an error in the block rolls it back. Raises InboxError."""
        with self.reading() as db, db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _described(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            sentence = f"The inbox {self.path} can't be used ({error})"
            if code in _FULL:
                raise InboxFull(f"{sentence}; make room on its disk.", "its disk is full") from error
            if code & 0xFF in _DAMAGED:
                remedy = (
                    "move this file and those that begin with its name away, and restart; its photos then wait again"
                )
                raise InboxError(f"{sentence}; {remedy}.", "its index is damaged") from error
            raise InboxError(f"{sentence}; try again.", str(error)) from error
        except OSError as error:
            reason = error.strerror or str(error)
            kind = InboxFull if error.errno in DISK_FULL else InboxError
            raise kind(describe_os_error(error, str(self.path.parent)), reason) from error


def secret(db: sqlite3.Connection) -> bytes:
    """Return the key of the receipts and of the hashed addresses."""
    return bytes(db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()[0])


def audit(db: sqlite3.Connection, who: str, digest: str, before: object, after: object) -> None:
    """Add a line about a decision, in the transaction of the decision; it can't be changed or deleted."""
    db.execute(
        "INSERT INTO audit (at, who, digest, before, after) VALUES (?, ?, ?, ?, ?)",
        (time.time(), who, digest, str(before), str(after)),
    )


def fsync_folder(folder: Path) -> None:
    """Write the names of a folder to the disk; without it, a power failure could lose the name of a new file."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _create(db: sqlite3.Connection) -> None:
    _use_wal(db)
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _version(db) == 0:  # else another process was first
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES ('secret', ?)", (secrets.token_bytes(32),))
            db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _use_wal(db: sqlite3.Connection) -> None:
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:  # SQLite does not wait for another process that does the same
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)
