"""/review: the page on which people decide about the photos of the inbox, and its requests."""

import re
import time
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, current_app, request

from service.access import bearer_token, matching_key
from service.decoders import Decoders
from service.inbox import review as inbox_review
from service.inbox.records import ACCEPTED, REASONS, STATES, WAITING, Decision
from service.inbox.review import Filter
from service.inbox.senders import key_id
from service.inbox.store import Inbox
from service.model_manager import served_model
from service.photo import read_file
from service.problems import Problem, bad_parameter, query_parameter
from service.request_body import bad_json, read_json
from service.settings import Settings
from service.stored_photo import PreparedPhoto

review = Blueprint("review", __name__)

_AFTER = re.compile(r"[0-9]+(\.[0-9]+)?(e-?[0-9]{1,3})?,[0-9]{1,15}", re.ASCII)  # rank and number of a photo
_PAGE = 60  # photos in one answer
_MOST = 1000  # decisions in one request


@review.get("/review")
def page() -> Response:
    """Return the page; it has no photo in it, and asks for the key."""
    _reviewer_keys()
    return current_app.send_static_file("review/index.html")


@review.get("/review/photos")
def photos() -> dict[str, Any]:
    """Return photos, those that are most worth a look first, and the number of photos in each state."""
    _reviewer()
    chosen = Filter(
        reason=query_parameter("reason", REASONS),
        label=request.args.get("label"),
        sender=request.args.get("sender"),
        conflict=query_parameter("conflict", ("true", "false")) == "true",
        disagree=query_parameter("disagree", ("true", "false")) == "true",
    )
    state = query_parameter("state", STATES) or WAITING
    found = inbox_review.photos(_inbox(), chosen, state, _PAGE, _after())
    meta, drift = served_model().model.metadata, served_model().live.drift()
    return {
        "photos": found,
        "counts": inbox_review.counts(_inbox(), chosen),
        "after": f"{found[-1]['rank']!r},{found[-1]['id']}" if len(found) == _PAGE else None,
        "inbox": str(_inbox().folder.resolve()),
        "drift": drift and str(drift),
        "positive_label": meta.positive_label,
        "negative_label": meta.negative_label,
    }


@review.get("/review/photos/<int:number>")
def photo(number: int) -> Response:
    """Return a photo as a JPEG without metadata."""
    _reviewer()
    return Response(_prepared(_read(number)).jpeg, content_type="image/jpeg")


@review.get("/review/photos/<int:number>/heatmap")
def heatmap(number: int) -> dict[str, Any]:
    """Return what the served model says of a photo, and its evidence."""
    _reviewer()
    served = served_model()
    prepared = _prepared(_read(number))
    prediction = served.inference.predict(prepared.square, time.monotonic() + _settings().deadline)
    meta = served.model.metadata
    evidence = {"heatmap": prediction.heatmap.astype(float).round(4).tolist(), "version": meta.version}
    return prediction.verdict.as_dict(meta.positive_label) | evidence


@review.post("/review/decisions")
def decide() -> dict[str, Any]:
    """Record decisions; the answer has what was decided before, so that the page can undo it."""
    reviewer = _reviewer()
    labels = served_model().model.metadata.labels
    body = read_json()
    try:
        if not isinstance(body["decisions"], list):
            raise TypeError
        if (count := len(body["decisions"])) > _MOST:
            detail = f"The request has {count} decisions; send at most {_MOST} in one request."
            raise Problem(413, "too-many-values", "Too many values", detail)
        decisions = {_number(each["id"]): Decision(each["state"], each.get("label")) for each in body["decisions"]}
    except (TypeError, KeyError, AttributeError) as error:
        detail = 'The JSON body must be {"decisions": [{"id": 1, "state": "accepted", "label": "LABEL"}, …]}.'
        raise bad_json(detail) from error
    for decision in decisions.values():
        if decision.state not in STATES or decision.label not in (labels if decision.state == ACCEPTED else (None,)):
            allowed = f"accepted with the label {' or '.join(labels)}, or dropped or waiting without a label"
            raise Problem(400, "unknown-label", "Unknown decision", f"The state must be {allowed}.")
    before = inbox_review.decide(_inbox(), decisions, reviewer)
    return {"before": [{"id": number, "state": was.state, "label": was.label} for number, was in before.items()]}


def _reviewer_keys() -> list[bytes]:
    keys = _settings().review_keys()
    if not keys:
        detail = "The review of photos is off; set SEEFOOD_REVIEW_KEY on the service to turn it on."
        raise Problem(404, "review-off", "The review is off", detail)
    return keys


def _reviewer() -> str:
    """Return the name of the reviewer; raises Problem without a valid key.

    The key is in a header, which no form and no link of another site can send, and which no browser remembers.
    """
    key = matching_key([bearer_token()], _reviewer_keys())
    if key is None:
        detail = "The review needs its own key; send it as Authorization: Bearer KEY."
        raise Problem(401, "unauthorized", "A key is needed", detail)
    return f"reviewer {key_id(key)}"


@review.after_request
def _not_kept(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _inbox() -> Inbox:
    inbox: Inbox = current_app.extensions["inbox"]
    return inbox


def _read(number: int) -> bytes:
    found = inbox_review.find(_inbox(), number) if number < 2**63 else None
    with suppress(FileNotFoundError):
        if found:
            return read_file(_inbox().path(found["file"]), _settings().max_bytes)
    raise Problem(404, "unknown-photo", "Unknown photo", f"The inbox has no photo {number}; it may be deleted.")


def _prepared(data: bytes) -> PreparedPhoto:
    decoders: Decoders = current_app.extensions["decoders"]
    return decoders.prepare(data, served_model().model.size, time.monotonic() + _settings().deadline)[0]


def _after() -> tuple[float, int] | None:
    text = request.args.get("after")
    if text is None:
        return None
    if not _AFTER.fullmatch(text):
        raise bad_parameter(f"The parameter after is {text[:40]!r}; send the member 'after' of the previous response.")
    rank, number = text.split(",")
    return float(rank), int(number)


def _number(value: object) -> int:
    if type(value) is not int or not 0 < value < 2**63:
        raise TypeError
    return value
