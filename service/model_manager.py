"""Holds the served model, and replaces it when the registry's pointer names another version."""

import contextlib
import json
import logging
import math
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from flask import current_app

from service import metrics
from service.drift import MIN_PHOTOS, LiveVerdicts, Probation
from service.errors import SeeFoodError
from service.inference import MAX_BATCH_SIZE, Inference
from service.model import Model, open_model
from service.registry import CURRENT, POINTERS, version_of
from service.settings import Settings

POLL_SECONDS = 0.5
RETRY_SECONDS = 30  # until a version that could not be opened is opened again
STARTUP_VERSION = "SEEFOOD_STARTED_WITH"  # variable: the version that the command opened before it became gunicorn
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """A model and what depends on it. A request reads it once, so that one model answers the whole request."""

    model: Model
    inference: Inference
    live: LiveVerdicts

    @property
    def folder(self) -> str:
        """The name of the version in the registry; the metadata of a renamed folder still have the old one."""
        return self.model.path.parent.name

    @classmethod
    def prepare(cls, model: Model) -> "ServedModel":
        """Warm up a model and check its self-test; raises SeeFoodError."""
        model.warm_up(MAX_BATCH_SIZE if model.device == "cuda" else 1)
        return cls(model, Inference(model), LiveVerdicts(model.metadata))


@dataclass(frozen=True)
class _Trial:
    """A promoted model, judged until `end`, a time of `time.monotonic`; if it fails, `before` is served again."""

    before: ServedModel
    probation: Probation
    end: float


class ModelManager:
    """Opens the served model and swaps it.

    Attributes:
        current: the served model; a swap replaces it by one assignment.
    """

    def __init__(self, settings: Settings, model: Model | None = None) -> None:
        """Open the model that the settings name; if a pointer's version can't be served, open an earlier one.

        Raises:
            SeeFoodError: no model can be opened.
        """
        self._settings = settings
        self._pointer = settings.model or CURRENT
        self._rejected = ""  # version, or error of the pointer, that was already logged
        self._retry = 0.0  # time of time.monotonic() from which that version is opened again
        self._trial: _Trial | None = None
        self.current = ServedModel.prepare(model) if model else self._open_first()
        metrics.set_model(self.current.model)

    def watch(self) -> None:
        """Start a thread that polls the pointer; a fixed version or file needs none."""
        if self._pointer in POINTERS:
            self._poll()  # before the first request, because it logs and counts a version that is not served
            threading.Thread(target=self._poll_for_ever, name="registry", daemon=True).start()

    def _poll_for_ever(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            self._poll()

    def _poll(self) -> None:
        try:
            self.refresh()
        except Exception:  # noqa: BLE001 - other programs write to the folder; the next poll may succeed
            _log.exception("the registry can't be read")

    def refresh(self) -> None:
        """Serve the version that the pointer names, if it is another one, can be served and passes its trial."""
        self._judge()
        before, version = self.current.folder, ""
        try:
            version = version_of(self._settings.models, self._pointer)
            if version == self._rejected and time.monotonic() < self._retry:
                return
            if version != before:
                served = self._open(version)
                self._trial = self._start_trial(version)
                self.current = served
                metrics.set_model(self.current.model)
                _log.info("serving %s instead of %s", version, before)
            self._rejected = ""
        except SeeFoodError as error:
            self._retry = time.monotonic() + RETRY_SECONDS  # its files may still be copied
            if self._rejected != (version or str(error)):
                self._rejected = version or str(error)
                metrics.rejected_models.inc()
                _log.error("still serving %s: %s", before, error)

    def _start_trial(self, version: str) -> _Trial | None:
        """Return the trial of a version that was never served before; a return to an earlier one must not be undone."""
        minutes = self._settings.rollback_minutes
        promotions = [entry.get("version") for entry in self._history()]
        if not minutes or promotions.count(version) != 1:
            return None
        expected = self.current.live.last_mix()
        if expected.photos < MIN_PHOTOS:
            _log.warning("the labels of %s are not watched: only %d photos came before it", version, expected.photos)
            return None
        return _Trial(self.current, Probation(expected), time.monotonic() + 60 * minutes)

    def _judge(self) -> None:
        trial, served = self._trial, self.current
        if trial is None:
            return
        mix = served.live.mix()
        if trial.probation.fails(mix):
            self._trial, self.current = None, trial.before
            self._rejected, self._retry = served.folder, math.inf
            metrics.set_model(trial.before.model)
            metrics.rollbacks.inc()
            _log.error(
                "serving %s again: %s gave the label %s to %s, but %s had been expected; the registry still names %s",
                trial.before.folder,
                self._rejected,
                served.model.metadata.positive_label,
                mix,
                trial.probation.expected,
                self._rejected,
            )
        elif time.monotonic() > trial.end:
            self._trial = None

    def _open_first(self) -> ServedModel:
        try:
            return self._open(self._settings.model)
        except SeeFoodError:
            replaced = [str(entry.get("before") or "") for entry in self._history()[-1:]]  # by the last promotion
            fallbacks = [*replaced, os.environ.get(STARTUP_VERSION)]
            for version in filter(None, fallbacks if self._pointer in POINTERS else []):
                with contextlib.suppress(SeeFoodError):
                    return self._open(version)  # the first refresh logs why the pointer's version is not served
            raise

    def _open(self, name: str) -> ServedModel:
        settings = self._settings
        return ServedModel.prepare(open_model(settings.models, name, settings.device, settings.precision))

    def _history(self) -> list[dict[str, Any]]:
        """Return the promotions and rollbacks of the pointer, the oldest first; none if they can't be read."""
        try:
            lines = (self._settings.models / "history.jsonl").read_text(encoding="utf-8").splitlines()
            entries = [json.loads(line) for line in lines]
            return [entry for entry in entries if entry.get("pointer", CURRENT) == self._pointer]
        except (OSError, ValueError, AttributeError):
            return []


def served_model() -> ServedModel:
    """Return the served model of the Flask application that handles the current request."""
    manager: ModelManager = current_app.extensions["model_manager"]
    return manager.current
