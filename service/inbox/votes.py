"""Votes: what senders say a photo shows, how many each may send, and which photos are worth a look first."""

import hashlib
import hmac
import ipaddress
import sqlite3
import time

from service.inbox.index import secret
from service.inbox.records import Limits, Sender

_DAY = 86400
_ID_DIGITS = 12


class OverQuota(Exception):
    """A sender has sent as much as the limit allows; the message is one sentence, `seconds` the time to wait."""

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


def key_id(key: bytes) -> str:
    """Return a short name of a secret key, from which the key can't be found."""
    return hashlib.sha256(key).hexdigest()[:_ID_DIGITS]


def address_id(db: sqlite3.Connection, address: str) -> str:
    """Return a short name of an address, which nobody can reverse without this inbox.

    There are few enough addresses to try all of them, so a hash without a key would hide nothing. One customer gets a
    whole /64 network of IPv6 addresses, so only that part of one counts.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address):
            mapped = parsed.ipv4_mapped
            address = str(mapped or ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))
    except ValueError:
        address = "unknown"
    return hmac.new(secret(db), f"address {address}".encode(), hashlib.sha256).hexdigest()[:_ID_DIGITS]


def names_of(db: sqlite3.Connection, sender: Sender) -> tuple[str, str]:
    """Return the name of a sender, which is that of the key if there is one, and the name of the address."""
    address = f"address {address_id(db, sender.address)}"
    return (f"key {sender.key}" if sender.key else address), address


def take_quota(db: sqlite3.Connection, name: str, limits: Limits) -> None:
    """Count one photo or vote of a sender; raises OverQuota. A photo that was deleted since still counts."""
    now = time.time()
    db.execute("DELETE FROM sent WHERE at < ?", (now - _DAY,))
    kind = name.partition(" ")[0]
    most = limits.key_per_day if kind == "key" else limits.address_per_day
    count, first = db.execute("SELECT COUNT(*), MIN(at) FROM sent WHERE who = ?", (name,)).fetchone()
    if count >= most:
        sentence = f"This {kind} has sent {most:,} photos within 24 hours, which is the limit; send more tomorrow."
        raise OverQuota(sentence, max(1, round(first + _DAY - now)))
    db.execute("INSERT INTO sent VALUES (?, ?)", (name, now))


def vote(db: sqlite3.Connection, photo: int, sender: str, label: str) -> int:
    """Set the vote of a sender for a photo; a sender has one, the last. Returns its number."""
    row = db.execute(
        "INSERT INTO votes (photo, sender, label, voted) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (photo, sender) DO UPDATE SET label = excluded.label, voted = excluded.voted RETURNING id",
        (photo, sender, label, time.time()),
    ).fetchone()
    return int(row[0])


def update_rank(db: sqlite3.Connection, photo: int) -> None:
    """Compute the rank of a photo, when it is new or its votes have changed."""
    row = db.execute("SELECT positive, probability, unfamiliar FROM photos WHERE id = ?", (photo,)).fetchone()
    labels = [each[0] for each in db.execute("SELECT label FROM votes WHERE photo = ?", (photo,))]
    verdict = None if row["probability"] is None else (row["probability"], row["positive"])
    db.execute("UPDATE photos SET rank = ? WHERE id = ?", (rank(verdict, bool(row["unfamiliar"]), labels), photo))


def rank(verdict: tuple[float, str] | None, unfamiliar: bool, labels: list[str]) -> float:
    """Return how much a look at a photo is worth: doubt x novelty x votes.

    Doubt, in [0, 1], is the larger one of how unsure the model is and how far its probability is from a vote.
    Novelty is 2 for a photo unlike those of training, else 1. The factor for votes is 1 plus their number.

    Args:
        verdict: the probability of the positive label, and that label; None: there is no model's verdict.
        unfamiliar: whether the photo is unlike the training photos.
        labels: the votes.
    """
    doubt = 0.5
    if verdict:
        probability, positive = verdict
        distances = [abs((label == positive) - probability) for label in labels]
        doubt = max([2 * min(probability, 1 - probability), *distances])
    return doubt * (2 if unfamiliar else 1) * (1 + len(labels))
