"""/openapi.json and /docs: what the service answers, for programs and for people."""

from importlib import resources
from pathlib import Path

from flask import Blueprint, Response, current_app, send_from_directory

reference = Blueprint("reference", __name__)

_SWAGGER_UI = Path(str(resources.files("flask_swagger_ui"))) / "dist"


@reference.get("/openapi.json")
def openapi() -> Response:
    """Answer the description of every route, OpenAPI 3.1."""
    return current_app.send_static_file("openapi.json")


@reference.get("/docs")
def docs() -> Response:
    """Answer the page that shows the description, and can try it out."""
    return current_app.send_static_file("docs.html")


@reference.get("/docs/<name>")
def docs_file(name: str) -> Response:
    """Answer a file of Swagger UI, from its package: nothing is loaded from elsewhere."""
    return send_from_directory(_SWAGGER_UI, name)
