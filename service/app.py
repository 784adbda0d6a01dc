"""The application: settings, decoders, model, routes and error bodies, wired together."""

import sys

import loky
from flask import Flask, Response

from service import access, connections, logs, metrics, problems
from service.admission import BODIES, Admission
from service.api import api
from service.decoders import Decoders
from service.errors import SeeFoodError
from service.model import Model
from service.oip import oip
from service.ops import ops
from service.reference import reference
from service.serving import Serving
from service.settings import Settings
from service.uploads import JSON_COPIES, StrictRequest

_CANT_LOAD = 4  # the exit status on which gunicorn stops the service instead of starting it again


def create_app(settings: Settings | None = None, model: Model | None = None) -> Flask:
    """Make the application, with its model opened and warmed up and its decoders started.

    Raises:
        SeeFoodError: a setting can't be used, or the model or the folder for feedback can't be opened.
    """
    settings = settings or Settings.from_env()
    app = Flask(__name__, static_folder="web", static_url_path="/web")
    app.request_class = StrictRequest
    # Base64 makes a photo a third larger, and multipart adds a few lines.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_bytes * 4 // 3 + 65536
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions |= {
        "settings": settings,
        "serving": Serving(settings, model),
        "admission": Admission(settings.queue, max(BODIES, JSON_COPIES * app.config["MAX_CONTENT_LENGTH"])),
        "decoders": _decoders(settings),
    }
    access.register(app, settings)
    connections.register(app)
    logs.register(app)
    metrics.register(app, settings.queue)
    problems.register(app)
    app.register_blueprint(api)
    app.register_blueprint(ops)
    app.register_blueprint(oip)
    app.register_blueprint(reference)
    app.add_url_rule("/", "page", lambda: page(app))
    return app


def page(app: Flask) -> Response:
    """Answer the page on which a phone takes a photo."""
    return app.send_static_file("index.html")


def serve() -> Flask:
    """Make the application for gunicorn; what can't be served ends it with one sentence on stderr."""
    try:
        app = create_app()
    except SeeFoodError as error:
        sys.stderr.write(f"seefood: {error}\n")
        sys.exit(_CANT_LOAD)
    # gunicorn sends the headers of an answer, then its body. A thread that waits 5 ms, as by default, for the
    # interpreter in between is often there when the process is killed, and half an answer is lost for good.
    sys.setswitchinterval(0.0005)
    app.extensions["decoders"].warm_up()
    app.extensions["serving"].watch()
    return app


def _decoders(settings: Settings) -> Decoders:
    return Decoders(
        loky.cpu_count(), settings.decode_memory, settings.decode_seconds, settings.max_bytes, settings.max_pixels
    )
