"""Error responses: RFC 9457 `application/problem+json`, with one sentence for the client and no stack trace."""

import logging
from collections.abc import Collection
from http import HTTPStatus

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from service import metrics
from service.errors import DeadlineExceeded, Overloaded
from service.inbox.index import InboxError, InboxFull
from service.inbox.senders import OverQuota
from service.photo import EmptyPhoto, PhotoError, PhotoTooCostly, PhotoTooLarge, UndecodablePhoto, UnsupportedPhoto

_TYPE = "urn:problem-type:seefood:"
_PHOTO_PROBLEMS = {
    EmptyPhoto: (400, "no-image", "No image"),
    UndecodablePhoto: (400, "undecodable-photo", "The photo can't be decoded"),
    UnsupportedPhoto: (415, "unsupported-photo", "Unsupported kind of photo"),
    PhotoTooLarge: (413, "photo-too-large", "The photo is too large"),
    PhotoTooCostly: (413, "photo-too-costly", "The photo takes too much to decode"),
}
_log = logging.getLogger(__name__)


class Problem(Exception):
    """An error response: HTTP status, last part of the problem type, title, and one sentence as detail."""

    def __init__(self, status: int, slug: str, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.slug, self.title, self.detail = status, slug, title, detail

    def as_dict(self) -> dict[str, str | int]:
        """Return the members that RFC 9457 defines."""
        return {"type": _TYPE + self.slug, "title": self.title, "status": self.status, "detail": self.detail}

    @classmethod
    def from_photo_error(cls, error: PhotoError, filename: str | None) -> "Problem":
        """Return the problem for a photo that can't be used; the detail starts with the file name if there is one."""
        status, slug, title = next(about for kind, about in _PHOTO_PROBLEMS.items() if isinstance(error, kind))
        return cls(status, slug, title, f"{filename}: {error}" if filename else str(error))


def register(app: Flask) -> None:
    """Answer every error of the application with a problem."""
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(PhotoError, lambda error: problem_response(Problem.from_photo_error(error, None)))
    app.register_error_handler(Overloaded, _overloaded)
    app.register_error_handler(MemoryError, _out_of_memory)
    app.register_error_handler(DeadlineExceeded, _deadline_exceeded)
    app.register_error_handler(OverQuota, _over_quota)
    app.register_error_handler(InboxError, _inbox_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)


def query_parameter(name: str, values: Collection[str]) -> str | None:
    """Return the value of a query parameter; raises Problem for any other value, so that a typo is not ignored."""
    value = request.args.get(name)
    if value is not None and value not in values:
        *others, last = values
        raise bad_parameter(f"The parameter {name} is {value[:40]!r}; it must be {', '.join(others)} or {last}.")
    return value


def bad_parameter(detail: str) -> Problem:
    """Return the problem of a query parameter that can't be used."""
    return Problem(400, "bad-parameter", "Bad parameter", detail)


def problem_response(problem: Problem) -> Response:
    """Return the response for a problem."""
    body = problem.as_dict() | {"request_id": g.request_id}
    if request.path.split("/")[1] == "v2":  # KServe's client shows `error`, and only of application/json
        return Response(json.dumps({"error": problem.detail} | body), problem.status, content_type="application/json")
    return Response(json.dumps(body), problem.status, content_type="application/problem+json")


def _overloaded(_: Exception) -> Response:
    detail = "The service has reached its concurrency limit; send the request again in a second."
    response = problem_response(Problem(429, "too-many-requests", "Too Many Requests", detail))
    response.headers["Retry-After"] = "1"
    metrics.refused.inc()
    return response


def _out_of_memory(error: MemoryError) -> Response:
    _log.error("no memory for a request", exc_info=error)
    return _overloaded(error)


def _over_quota(error: OverQuota) -> Response:
    response = problem_response(Problem(429, "feedback-quota", "Too much feedback", str(error)))
    response.headers["Retry-After"] = str(error.seconds)
    return response


def _inbox_error(error: InboxError) -> Response:
    _log.warning("the inbox failed: %s", error)
    detail = (
        f"The inbox of photos can't be used: {error.reason}; nothing was stored, changed or deleted, so send the "
        "request again later."
    )
    if isinstance(error, InboxFull):
        return problem_response(Problem(507, "feedback-full", "No room for feedback", detail))
    return problem_response(Problem(503, "feedback-unavailable", "The inbox can't be used", detail))


def _deadline_exceeded(_: DeadlineExceeded) -> Response:
    detail = "The photo was not classified before the deadline; send it again later."
    return problem_response(Problem(504, "deadline-passed", "Gateway Timeout", detail))


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    title = HTTPStatus(code).phrase
    detail = error.description or title
    if isinstance(error, RequestEntityTooLarge):
        detail = (
            "The request body, or a text field or the number of fields of its form, is larger than the limit; send "
            "photos as files, smaller ones or fewer in one request."
        )
    elif code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.path}; send photos to POST /v1/predict."
    elif isinstance(error, MethodNotAllowed):
        detail = f"{request.path} does not accept {request.method}; use {', '.join(sorted(error.valid_methods or ()))}."
    response = problem_response(Problem(code, title.lower().replace(" ", "-"), title, detail))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


def _unexpected_error(error: Exception) -> Response:
    _log.error("request failed", exc_info=error)
    detail = "The service failed on this request; its log has the reason under the request_id."
    return problem_response(Problem(500, "internal-server-error", "Internal Server Error", detail))
