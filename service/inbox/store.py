"""Stores photos in an inbox, and deletes them; every change is atomic, whatever ends the process."""

import hashlib
import hmac
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from service.errors import SeeFoodError, describe_os_error
from service.inbox.index import InboxError, Index, audit, fsync_folder
from service.inbox.records import CORRECTION, RECOVERED, WAITING, Decision, Limits, ModelVerdict, NewPhoto, Sender
from service.inbox.rows import has_vote, insert, make_receipt, make_room, same_picture
from service.inbox.senders import names_of, take_quota
from service.inbox.votes import update_rank, vote
from service.photo import SUFFIXES
from service.settings import Settings

INDEX, PHOTOS = "inbox.sqlite", "photos"  # in the folder of an inbox
_log = logging.getLogger(__name__)


class Inbox:
    """A folder with photos, whose names are the SHA-256 of their bytes, and an index.

    A photo is written before its line in the index is committed, and deleted after that line is. So whatever the
    index has is on the disk, and a file that the index does not have is garbage. Files change only while the index is
    locked, so several processes of one machine can use one inbox.

    Attributes:
        folder: the folder.
        index: the index.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Create the folder if it does not exist; raises SeeFoodError if it can't be created or written to."""
        self.folder, self._limits = folder, limits
        self.index = Index(folder / INDEX)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / PHOTOS).mkdir(mode=0o700, exist_ok=True)
            tempfile.TemporaryFile(dir=folder / PHOTOS).close()
        except OSError as error:
            raise SeeFoodError(describe_os_error(error, str(folder))) from error

    def open(self) -> None:
        """Create the index if there is none, and delete what a killed process has left; raises InboxError."""
        with self.index.writing() as db:
            is_new = bool(db.execute("INSERT OR IGNORE INTO meta VALUES ('opened', '')").rowcount)
            known = {row["digest"] + row["suffix"] for row in db.execute("SELECT digest, suffix FROM photos")}
            for path in (self.folder / PHOTOS).iterdir():
                if path.name in known:
                    continue
                if is_new and path.suffix in SUFFIXES:  # the index was lost, so its photos wait for a decision again
                    insert(db, path.name, path.stat().st_size, None, RECOVERED, ("unknown", "unknown"))
                else:
                    path.unlink()

    def add(
        self,
        photo: NewPhoto,
        sender: Sender,
        reason: str,
        verdict: ModelVerdict | None = None,
        label: str | None = None,
    ) -> str | None:
        """Store a photo, or a vote for one that shows the same picture.

        Args:
            photo: the photo.
            sender: who sent it.
            reason: why it is stored, as in `service.inbox.records`.
            verdict: of the model that is served.
            label: the vote of the sender; None: the sender has none.

        Returns:
            The receipt that `withdraw` takes, empty without a vote; None if everything is stored already.

        Raises:
            OverQuota: the sender has sent too much.
            InboxFull: there is no room.
            InboxError: the inbox can't be used.
        """
        digest = hashlib.sha256(photo.data).hexdigest()
        name, receipt = digest + photo.suffix, ""
        evicted: list[str] = []
        try:
            with self.index.writing() as db:
                senders = names_of(db, sender)
                number = same_picture(db, digest, photo.phash)
                if number is not None and (label is None or has_vote(db, number, senders[0], label)):
                    return None
                take_quota(db, senders[0], self._limits)
                if number is None:
                    evicted = make_room(db, len(photo.data), self._limits.max_bytes)
                    self._write(name, photo.data)
                    number = insert(db, name, len(photo.data), photo.phash, reason, senders, verdict)
                if label is not None:
                    receipt = make_receipt(db, vote(db, number, senders[0], label))
                    db.execute("UPDATE photos SET reason = ? WHERE id = ?", (CORRECTION, number))
                    update_rank(db, number)
        except InboxError:
            self.tidy([name])
            raise
        self.tidy(evicted)
        return receipt

    def withdraw(self, receipt: str) -> bool:
        """Delete the vote of a receipt; and its photo, if it came from the same sender or nobody else votes for it.

        Returns:
            False if the receipt is invalid or was used before.

        Raises:
            InboxError: nothing could be deleted.
        """
        number = receipt.partition(".")[0]
        with self.index.writing() as db:
            if not (number.isascii() and number.isdigit() and len(number) < 19):
                return False
            if not hmac.compare_digest(receipt.encode(errors="replace"), make_receipt(db, int(number)).encode()):
                return False
            found = db.execute(
                "SELECT photos.*, votes.sender AS voter FROM votes JOIN photos ON photos.id = photo WHERE votes.id = ?",
                (int(number),),
            ).fetchone()
            if not found:
                return False
            db.execute("DELETE FROM votes WHERE id = ?", (int(number),))
            others = db.execute("SELECT COUNT(*) FROM votes WHERE photo = ?", (found["id"],)).fetchone()[0]
            if others and found["sender"] != found["voter"]:
                update_rank(db, found["id"])
                return True
            db.execute("DELETE FROM photos WHERE id = ?", (found["id"],))
            if found["state"] != WAITING:
                audit(db, "sender", found["digest"], Decision(found["state"], found["decided_label"]), "deleted")
        self.tidy([found["digest"] + found["suffix"]])
        return True

    def path(self, name: str) -> Path:
        """Return the path of a photo by its digest and suffix."""
        return self.folder / PHOTOS / name

    def remove_files(self, names: Iterable[str]) -> None:
        """Delete files by name, except those that the index has; raises InboxError."""
        if not (names := list(names)):
            return
        with self.index.writing() as db:
            for name in names:
                if not db.execute("SELECT 1 FROM photos WHERE digest || suffix = ?", (name,)).fetchone():
                    self.path(name).unlink(missing_ok=True)

    def tidy(self, names: Iterable[str]) -> None:
        """Delete files by name, except those that the index has; the next start tries again after an error."""
        try:
            self.remove_files(names)
        except InboxError as error:
            _log.error("files of deleted photos are still in the inbox until the next start: %s", error)

    def _write(self, name: str, data: bytes) -> None:
        part = self.path(f".{name}.part")
        try:
            with part.open("wb") as file:  # one that a killed process has left is overwritten
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path(name))
        finally:
            part.unlink(missing_ok=True)
        fsync_folder(part.parent)


def create_inbox(settings: Settings) -> Inbox | None:
    """Return the inbox in the settings, not yet opened; None if there is none. Raises SeeFoodError."""
    if not settings.feedback_dir:
        for name in ("collect", "review_key"):
            if getattr(settings, name):
                raise SeeFoodError(f"SEEFOOD_{name.upper()} needs an inbox; name its folder with SEEFOOD_FEEDBACK_DIR.")
        return None
    limits = Limits(settings.feedback_max_bytes, settings.feedback_per_key, settings.feedback_per_address)
    try:
        return Inbox(Path(settings.feedback_dir), limits)
    except SeeFoodError as error:
        raise SeeFoodError(f"SEEFOOD_FEEDBACK_DIR: {error}") from error
