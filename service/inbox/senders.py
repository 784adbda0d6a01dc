"""Senders: their names in the inbox, and how many photos each may send a day."""

import hashlib
import hmac
import ipaddress
import sqlite3
import time

from service.inbox.index import secret
from service.inbox.records import Limits, Sender

_DAY, _MINUTE = 86400, 60  # seconds
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
    # A clock that was ahead for some time has left times in the future.
    db.execute("DELETE FROM sent WHERE at < ? OR at > ?", (now - _DAY, now + _MINUTE))
    kind = name.partition(" ")[0]
    most = limits.key_per_day if kind == "key" else limits.address_per_day
    count, first = db.execute("SELECT COUNT(*), MIN(at) FROM sent WHERE who = ?", (name,)).fetchone()
    if count >= most:
        sentence = f"This {kind} has sent {most:,} photos within 24 hours, which is the limit; send more tomorrow."
        raise OverQuota(sentence, max(1, round(first + _DAY - now)))
    db.execute("INSERT INTO sent VALUES (?, ?)", (name, now))
