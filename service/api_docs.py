"""/openapi.json describes the HTTP API; /docs shows it with Swagger UI."""

from importlib import resources
from pathlib import Path

from flask import Blueprint, Response, current_app, send_from_directory

api_docs = Blueprint("api_docs", __name__)

_SWAGGER_UI = Path(str(resources.files("flask_swagger_ui"))) / "dist"


@api_docs.get("/openapi.json")
def openapi() -> Response:
    """Return the description of every route, OpenAPI 3.1."""
    return current_app.send_static_file("openapi.json")


@api_docs.get("/docs")
def docs() -> Response:
    """Return the page that shows the description and can send requests."""
    return current_app.send_static_file("docs.html")


@api_docs.get("/docs/<name>")
def docs_file(name: str) -> Response:
    """Return a file of Swagger UI from its installed package, so that the page loads nothing from other hosts."""
    return send_from_directory(_SWAGGER_UI, name)
