"""Shadow deployment: a candidate also classifies a share of the live photos; its verdicts are counted, never sent."""

import contextlib
import logging
import queue
import random
import sqlite3
import threading
import time
from dataclasses import dataclass

from flask import Response, after_this_request

from service import metrics, shadow_record
from service.candidate import Candidate
from service.collector import Collector
from service.errors import SeeFoodError
from service.inbox.records import SHADOW as REASON
from service.inbox.records import Sender
from service.model import Model, Verdict
from service.model_manager import POLL_SECONDS, ModelManager, ServedModel
from service.photo import Pixels
from service.registry import SHADOW, version_of
from service.settings import Settings
from service.shadow_record import Comparison, Pair

RECORD_SECONDS = 2  # between two writes of the record
_WAITING = 8  # photos
_KEPT_BYTES = 5_000_000  # of one photo; a larger one is compared, but not stored where the versions disagree
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """A photo that was answered: its square, uint8 [S, S, 3], its verdict, and its bytes if an inbox may need them."""

    served: ServedModel
    pixels: Pixels
    verdict: Verdict
    sender: Sender
    photo: bytes | None


class Shadow:
    """Compares the candidate; where it can't keep up, photos are left out, and no answer waits for it.

    Attributes:
        candidate: the open candidate; None if there is none.
    """

    def __init__(self, settings: Settings, manager: ModelManager, collector: Collector | None) -> None:
        self._settings, self._manager, self._collector = settings, manager, collector
        self.candidate: Candidate | None = None
        self._named: tuple[str, str] | None = None  # candidate and served version that were looked at last
        self._queue: queue.Queue[Answered] = queue.Queue(_WAITING)
        self._counts: dict[Pair, Comparison] = {}
        self._recorded = time.monotonic()
        self._record_failed = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def offer(self, served: ServedModel, pixels: Pixels, verdict: Verdict, photo: bytes, sender: Sender) -> None:
        """Compare a share of the photos of the current request, once its answer is sent."""
        if self.candidate is None or random.random() >= self._settings.shadow_share:  # noqa: S311
            return
        keep = self._collector is not None and len(photo) <= _KEPT_BYTES
        answered = Answered(served, pixels, verdict, sender, photo if keep else None)

        @after_this_request
        def wait_for_the_end(response: Response) -> Response:
            response.call_on_close(lambda: self._enqueue(answered))  # the server closes a response that it has sent
            return response

    def _enqueue(self, answered: Answered) -> None:
        try:
            self._queue.put_nowait(answered)
        except queue.Full:
            metrics.shadow_dropped.inc()

    def _run(self) -> None:
        looked = 0.0
        while True:
            answered = None
            with contextlib.suppress(queue.Empty):
                answered = self._queue.get(timeout=POLL_SECONDS)
            try:
                if time.monotonic() - looked >= POLL_SECONDS:
                    self.refresh()
                    looked = time.monotonic()
                if answered:
                    self.compare(answered)
                if self._counts and time.monotonic() - self._recorded >= RECORD_SECONDS:
                    self.record()
            except Exception:  # noqa: BLE001 - nobody waits for the result of the thread
                _log.exception("the shadow failed")

    def refresh(self) -> None:
        """Open the candidate that the setting or the pointer names, if it is another one than before."""
        served = self._manager.current
        name = self._settings.shadow
        if not name:
            with contextlib.suppress(SeeFoodError):  # without a pointer there is no candidate
                name = version_of(self._settings.models, SHADOW)
        named = name, served.folder
        if named == self._named:
            return
        self._named = named
        self._close()
        if not name or name == served.folder:
            return
        try:
            candidate = Candidate(self._settings.models, name, served.model.device, self._settings.precision)
            self.candidate = candidate
            _check_comparable(candidate, served.model)
        except SeeFoodError as error:
            self._give_up(error)
            return
        metrics.shadow_info.labels(name).set(1)
        _log.info("%s is the shadow of %s", name, served.folder)

    def compare(self, answered: Answered) -> None:
        """Let the candidate answer one photo, unless photos wait for the served model."""
        candidate, served = self.candidate, answered.served.model
        if candidate is None or candidate.size != served.size:  # another one than when the photo was answered
            return
        if answered.served.inference.is_saturated:
            metrics.shadow_dropped.inc()
            return
        try:
            verdict, seconds = candidate.answer(answered.pixels)
        except SeeFoodError as error:
            self._give_up(error)
            return
        metrics.count_shadow(answered.verdict, verdict, seconds)
        agrees = verdict.positive == answered.verdict.positive
        pair = Pair(candidate.folder, answered.served.folder)
        before = self._counts.get(pair, Comparison())
        self._counts[pair] = Comparison(before.photos + 1, before.agreed + agrees)
        if not agrees and self._collector and answered.photo is not None:
            self._collector.store(answered.photo, served, answered.verdict, answered.sender, REASON)

    def record(self) -> None:
        """Add the counts to the record in the registry; if it can't be written to, they stay in memory."""
        self._recorded = time.monotonic()
        try:
            shadow_record.add(self._settings.models, self._counts)
        except sqlite3.Error as error:
            if not self._record_failed:
                self._record_failed = True
                path = self._settings.models / shadow_record.FILE
                reason = "the comparisons are counted only in the metrics: %s can't be written to: %s; make it writable"
                _log.warning(reason, path, error)
            return
        self._counts, self._record_failed = {}, False

    def _close(self) -> None:
        if self.candidate:
            self.candidate.close()
        self.candidate = None
        metrics.shadow_info.clear()

    def _give_up(self, error: Exception) -> None:
        self._close()
        metrics.shadow_refused.inc()
        _log.error("there is no shadow %s: %s", self._named[0] if self._named else "", error)


def _check_comparable(candidate: Candidate, served: Model) -> None:
    mine, its = served.metadata.labels, candidate.metadata.labels
    if mine != its or served.size != candidate.size:
        raise SeeFoodError(
            f"{candidate.metadata.version} has the labels {' and '.join(its)} and squares of {candidate.size} pixels, "
            f"but the served model has {' and '.join(mine)} and {served.size}; "
            "only the same labels and squares are compared."
        )
