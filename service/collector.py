"""Collects photos that the model doubts into the inbox, after they were answered."""

import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service import metrics
from service.decoders import Decoders
from service.errors import SeeFoodError
from service.feedback import model_verdict, new_photo
from service.inbox.index import InboxError
from service.inbox.records import SAMPLE, UNCERTAIN, UNFAMILIAR, Sender
from service.inbox.senders import OverQuota
from service.inbox.store import Inbox
from service.model import Model, Verdict
from service.photo import PhotoError
from service.settings import Settings

_WAITING_BYTES = 40_000_000  # of photos that wait to be stored; further ones are left out
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CollectRules:
    """Which photos are collected: those with an uncertain or unfamiliar verdict, and a share of all, in [0, 1]."""

    uncertain: bool = False
    unfamiliar: bool = False
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "CollectRules":
        """Parse SEEFOOD_COLLECT, as `uncertain,unfamiliar,sample:0.01`; raises SeeFoodError."""
        values: dict[str, float | bool] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            name, _, number = part.partition(":")
            if part in (UNCERTAIN, UNFAMILIAR):
                values[part] = True
            elif name == SAMPLE and _is_share(number):
                values["share"] = float(number)
            else:
                raise SeeFoodError(
                    f"SEEFOOD_COLLECT has {part[:40]!r}; write uncertain, unfamiliar, or sample: and a share above 0 "
                    "and up to 1, as sample:0.01, separated by commas."
                )
        return cls(**values)  # type: ignore[arg-type]

    def reason(self, verdict: Verdict) -> str | None:
        """Return why a photo with this verdict is collected; None if it is not."""
        if self.unfamiliar and verdict.unfamiliar:
            return UNFAMILIAR
        if self.uncertain and verdict.uncertain:
            return UNCERTAIN
        return SAMPLE if random.random() < self.share else None  # noqa: S311


class Collector:
    """One thread that stores photos, with the decoders of the requests; where it can't keep up, photos are left out."""

    def __init__(self, inbox: Inbox, decoders: Decoders, settings: Settings, choice: CollectRules) -> None:
        """Keep the parts; the thread starts with the first photo."""
        self._choice = choice
        self._inbox, self._decoders, self._settings = inbox, decoders, settings
        self._lock, self._bytes = threading.Lock(), 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="collector")

    def offer(self, photo: bytes, model: Model, verdict: Verdict, sender: Sender) -> None:
        """Store a photo soon, if the setting chooses it."""
        if reason := self._choice.reason(verdict):
            self.store(photo, model, verdict, sender, reason)

    def store(self, photo: bytes, model: Model, verdict: Verdict, sender: Sender, reason: str) -> None:
        """Store a photo soon, for a reason as in `service.inbox.records`."""
        with self._lock:
            if self._bytes + len(photo) > _WAITING_BYTES:
                metrics.collected.labels("busy").inc()
                return
            self._bytes += len(photo)
        self._thread.submit(self._store, photo, model, verdict, sender, reason)

    def close(self) -> None:
        """Store what still waits, then end the thread; only tests call this: the service ends with its process."""
        self._thread.shutdown()

    def _store(self, photo: bytes, model: Model, verdict: Verdict, sender: Sender, reason: str) -> None:
        try:
            prepared, _ = self._decoders.prepare(photo, model.size)
            new = new_photo(self._settings, prepared, photo)
            receipt = self._inbox.add(new, sender, reason, model_verdict(model, verdict))
            metrics.collected.labels("known" if receipt is None else "stored").inc()
        except OverQuota:
            metrics.collected.labels("over quota").inc()
        except (InboxError, PhotoError) as error:
            metrics.collected.labels("failed").inc()
            _log.warning("a photo is not collected: %s", error)
        except Exception:  # noqa: BLE001 - nobody waits for the result of the thread
            metrics.collected.labels("failed").inc()
            _log.exception("a photo is not collected")
        finally:
            with self._lock:
                self._bytes -= len(photo)


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False
