"""Takes photos with their correct label into the inbox, and deletes them for their senders."""

import time
from typing import Any

from flask import Blueprint, current_app, g, request

from service.access import current_sender
from service.decoders import Decoders
from service.inbox.records import CORRECTION, ModelVerdict, NewPhoto
from service.inbox.store import Inbox
from service.model import Model, Verdict
from service.model_manager import served_model
from service.photo import PhotoError
from service.problems import Problem
from service.settings import Settings
from service.stored_photo import PreparedPhoto
from service.uploads import admitted, read_uploads

feedback = Blueprint("feedback", __name__, url_prefix="/v1")


@feedback.post("/feedback")
def send() -> tuple[dict[str, Any], int]:
    """Store one photo with the label that its sender gives."""
    inbox = _inbox()
    with admitted():
        receipt = _store(inbox)
    return ({"stored": False}, 200) if receipt is None else ({"stored": True, "receipt": receipt}, 201)


@feedback.delete("/feedback/<receipt>")
def undo(receipt: str) -> tuple[str, int]:
    """Delete what was stored with this receipt."""
    if not _inbox().withdraw(receipt):
        detail = "No photo is stored with this receipt; it may be deleted already."
        raise Problem(404, "unknown-receipt", "Unknown receipt", detail)
    return "", 204


def model_verdict(model: Model, verdict: Verdict) -> ModelVerdict:
    """Return what an inbox keeps of a verdict."""
    meta = model.metadata
    return ModelVerdict(meta.version, meta.positive_label, verdict.label, verdict.probability, verdict.unfamiliar)


def new_photo(settings: Settings, prepared: PreparedPhoto, original: bytes) -> NewPhoto:
    """Return the file that an inbox stores: a new one without metadata, or the original if the settings say so."""
    if settings.feedback_exif == "keep":
        return NewPhoto(original, prepared.suffix, prepared.phash)
    return NewPhoto(prepared.jpeg, ".jpg", prepared.phash)


def _inbox() -> Inbox:
    inbox: Inbox | None = current_app.extensions["inbox"]
    if inbox is None:
        detail = "Feedback is off, and the photo is not stored; set SEEFOOD_FEEDBACK_DIR on the service to turn it on."
        raise Problem(404, "feedback-off", "Feedback is off", detail)
    return inbox


def _store(inbox: Inbox) -> str | None:
    settings: Settings = current_app.extensions["settings"]
    decoders: Decoders = current_app.extensions["decoders"]
    served = served_model()
    upload, *others = read_uploads(settings)
    if others:
        detail = f"The request has {len(others) + 1} photos; send one photo and its label."
        raise Problem(413, "too-many-photos", "Too many photos", detail)
    labels = served.model.metadata.labels
    label = (g.fields if request.mimetype == "application/json" else request.values).get("label")
    if label not in labels:
        found = "The request has no label" if label is None else f"The label is {str(label)[:40]!r}"
        detail = f"{found}; send 'label' with the photo, as {' or '.join(labels)}."
        raise Problem(400, "unknown-label", "Unknown label", detail)
    deadline = time.monotonic() + settings.deadline
    try:
        prepared, _ = decoders.prepare(upload.data, served.model.size, deadline)
    except PhotoError as error:
        raise Problem.from_photo_error(error, upload.filename) from error
    # The photo is not counted as a prediction: people send the photos that the model gets wrong.
    verdict = served.inference.predict(prepared.square, deadline).verdict
    return inbox.add(
        new_photo(settings, prepared, upload.data),
        current_sender(),
        CORRECTION,
        model_verdict(served.model, verdict),
        label,
    )
