"""Every error body: RFC 9457 `application/problem+json`, with one plain sentence and never a stack trace."""

import logging
from http import HTTPStatus

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from service.errors import Full, Late
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
    """An error with everything that its answer needs: status, the slug of its type, a title and one sentence."""

    def __init__(self, status: int, slug: str, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.slug, self.title, self.detail = status, slug, title, detail

    def as_dict(self) -> dict[str, str | int]:
        """Return the members that RFC 9457 names."""
        return {"type": _TYPE + self.slug, "title": self.title, "status": self.status, "detail": self.detail}

    @classmethod
    def of_photo(cls, error: PhotoError, filename: str | None) -> "Problem":
        """Return the problem that a photo error is, its sentence led by the file's name where there is one."""
        status, slug, title = next(about for kind, about in _PHOTO_PROBLEMS.items() if isinstance(error, kind))
        return cls(status, slug, title, f"{filename}: {error}" if filename else str(error))


def register(app: Flask) -> None:
    """Give every error of the app a problem body."""
    app.register_error_handler(Problem, answer)
    app.register_error_handler(Full, _answer_full)
    app.register_error_handler(Late, _answer_late)
    app.register_error_handler(MemoryError, _answer_full)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def answer(problem: Problem) -> Response:
    """Make a problem the answer to the request."""
    body = problem.as_dict() | {"request_id": g.request_id}
    if request.path.split("/")[1] == "v2":  # where clients look for `error`, and KServe's in application/json alone
        return Response(json.dumps({"error": problem.detail} | body), problem.status, content_type="application/json")
    return Response(json.dumps(body), problem.status, content_type="application/problem+json")


def _answer_full(_: Exception) -> Response:
    detail = "The service is as busy as it may be; send the photo again in a second."
    response = answer(Problem(429, "too-many-requests", "Too Many Requests", detail))
    response.headers["Retry-After"] = "1"
    return response


def _answer_late(_: Late) -> Response:
    detail = "The photo was not answered in time, because others are before it; send it again later."
    return answer(Problem(504, "deadline-passed", "Gateway Timeout", detail))


def _answer_http(error: HTTPException) -> Response:
    code = error.code or 500
    title = HTTPStatus(code).phrase
    detail = error.description or title
    if isinstance(error, RequestEntityTooLarge):
        detail = "The request's body is larger than this service accepts; send a smaller photo, or fewer at a time."
    elif code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.path}; photos are POSTed to /v1/predict."
    elif isinstance(error, MethodNotAllowed):
        detail = f"{request.path} does not answer {request.method}; use {', '.join(sorted(error.valid_methods or ()))}."
    response = answer(Problem(code, title.lower().replace(" ", "-"), title, detail))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


def _answer_unexpected(error: Exception) -> Response:
    _log.error("request failed", exc_info=error)
    detail = "The service failed on this request; its log has the reason under the request_id."
    return answer(Problem(500, "internal-server-error", "Internal Server Error", detail))
