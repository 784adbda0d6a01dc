"""The model that is served: opened at the start, and replaced when the registry names another."""

import json
import logging
import os
import threading
import time
from dataclasses import dataclass

from service import metrics
from service.errors import SeeFoodError
from service.feedback import Feedback, open_feedback
from service.inference import LARGEST_BATCH, Inference
from service.model import Model, open_model
from service.registry import CURRENT, POINTERS, version_of
from service.settings import Settings

SECONDS = 0.5  # between two looks at the pointer
STARTED_WITH = "SEEFOOD_STARTED_WITH"  # the version that the command opened before it became gunicorn
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model with all that depends on it; a request takes it once, and so gets all of its answer from one model."""

    model: Model
    inference: Inference
    feedback: Feedback | None

    @classmethod
    def of(cls, model: Model, settings: Settings) -> "Served":
        """Warm a model up and check its answers; raises SeeFoodError."""
        model.warm_up(LARGEST_BATCH if model.device == "cuda" else 1)
        return cls(model, Inference(model), open_feedback(settings, model))


class Serving:
    """What is served now.

    Attributes:
        now: the model that answers; one assignment replaces it.
    """

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        """Open the model that the settings name, or one that was served before it where that can't be.

        Raises:
            SeeFoodError: none can be opened.
        """
        self._settings = settings
        self._pointer = settings.model or CURRENT
        self._refused = ""
        self.now = Served.of(model, settings) if model else self._first()
        metrics.tell_model(self.now.model)

    def watch(self) -> None:
        """Look at the pointer for ever, in a thread of its own; a fixed version or file needs no look."""
        if self._pointer in POINTERS:
            threading.Thread(target=self._look_for_ever, name="registry", daemon=True).start()

    def _look_for_ever(self) -> None:
        while True:
            time.sleep(SECONDS)
            try:
                self.look()
            except Exception:  # noqa: BLE001 - whatever a folder that others write to makes of it, the next look may be better
                _log.exception("the registry can't be looked at")

    def look(self) -> None:
        """Serve what the pointer names, where that is another version than now and can be served."""
        try:
            version = version_of(self._settings.models, self._pointer)
        except SeeFoodError as error:
            self._refuse("", error)
            return
        before = self.now.model
        if version == before.metadata.version or version == self._refused:
            self._refused = "" if version == before.metadata.version else self._refused
            return
        try:
            served = self._open(version)
        except SeeFoodError as error:
            self._refuse(version, error)
            return
        self.now, self._refused = served, ""
        metrics.tell_model(served.model)
        _log.info("serving %s instead of %s", version, before.metadata.version)

    def _refuse(self, version: str, error: SeeFoodError) -> None:
        if self._refused != (version or str(error)):
            self._refused = version or str(error)
            metrics.refused_models.inc()
            _log.error("still serving %s: %s", self.now.model.metadata.version, error)

    def _first(self) -> Served:
        names = [self._settings.model]
        if self._pointer in POINTERS:
            names += [_version_before(self._settings, self._pointer), os.environ.get(STARTED_WITH, "")]
        failures: list[SeeFoodError] = []
        for name in dict.fromkeys(names):
            if failures and not name:
                continue
            try:
                served = self._open(name)
            except SeeFoodError as error:
                failures.append(error)
                continue
            for failure in failures:
                metrics.refused_models.inc()
                _log.error("serving %s: %s", served.model.metadata.version, failure)
            if failures:
                self._refused = self._named_or_why_not()  # which need not be told again
            return served
        raise failures[0]

    def _named_or_why_not(self) -> str:
        try:
            return version_of(self._settings.models, self._pointer)
        except SeeFoodError as error:
            return str(error)

    def _open(self, name: str) -> Served:
        settings = self._settings
        return Served.of(open_model(settings.models, name, settings.device, settings.precision), settings)


def _version_before(settings: Settings, pointer: str) -> str:
    """Return the version that the last promotion of a pointer replaced; empty where no history tells."""
    try:
        lines = (settings.models / "history.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        of_pointer = (entry for entry in reversed(entries) if entry.get("pointer", CURRENT) == pointer)
        return str(next(of_pointer).get("before") or "")
    except (OSError, ValueError, AttributeError, StopIteration):
        return ""
