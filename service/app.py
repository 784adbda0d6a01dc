"""The Flask application: creates every part of the service and connects it to the routes."""

import logging
import re
import sys
from functools import partial
from importlib import resources
from pathlib import Path

import loky
from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from service import access, browser_model, feedback, logs, metrics, ops, problems, request_body, review, v1, v2
from service.admission import MAX_BODY_BYTES, Admission
from service.collector import Collector, CollectRules
from service.decoders import Decoders
from service.errors import SeeFoodError
from service.inbox.index import InboxError
from service.inbox.store import Inbox, create_inbox
from service.model import Model
from service.model_manager import ModelManager
from service.request_body import JSON_COPIES
from service.settings import Settings
from service.shadow import Shadow
from service.uploads import StrictRequest

_log = logging.getLogger(__name__)
_EXIT_STATUS = 4  # gunicorn stops on this status, and does not start the worker again


def create_app(settings: Settings | None = None, model: Model | None = None) -> Flask:
    """Create the application, open and warm up its model, and start its decoder processes.

    Raises:
        SeeFoodError: a setting is invalid, or the model or the folder of the inbox can't be opened.
    """
    settings = settings or Settings.from_env()
    app = Flask(__name__, static_folder="web", static_url_path="/web")
    app.request_class = StrictRequest
    # Base64 makes a photo a third larger, and multipart adds a few lines.
    max_body = app.config["MAX_CONTENT_LENGTH"] = settings.max_bytes * 4 // 3 + 65536
    app.json.sort_keys = False  # type: ignore[attr-defined]
    settings.review_keys()
    choice = CollectRules.parse(settings.collect)
    inbox = _open_inbox(settings)
    decoders = Decoders(
        loky.cpu_count(), settings.decode_memory, settings.decode_seconds, settings.max_bytes, settings.max_pixels
    )
    manager = ModelManager(settings, model)
    collector = Collector(inbox, decoders, settings, choice) if inbox else None
    app.extensions |= {
        "settings": settings,
        "model_manager": manager,
        "admission": Admission(settings.queue, max(MAX_BODY_BYTES, JSON_COPIES * max_body)),
        "decoders": decoders,
        "inbox": inbox,
        "collector": collector,
        "shadow": Shadow(settings, manager, collector),
    }
    if settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=0, x_host=0)  # type: ignore[method-assign]
    access.register(app, settings)
    request_body.register(app)
    app.after_request(logs.log_request)
    metrics.register(app, settings.queue)
    problems.register(app)
    # The page at /docs takes Swagger UI from its installed package, and loads nothing from other hosts.
    swagger_ui = Path(str(resources.files("flask_swagger_ui"))) / "dist"
    docs = Blueprint("docs", __name__, static_folder=swagger_ui, static_url_path="/docs")
    for blueprint in (v1.v1, feedback.feedback, v2.v2, review.review, ops.ops, docs, browser_model.browser_model):
        app.register_blueprint(blueprint)
    # sw.js is at the root, because a service worker takes only requests for its own folder and those below it.
    pages = {
        "/": "index.html",
        "/sw.js": "sw.js",
        "/inside": "inside/index.html",
        "/docs": "docs.html",
        "/openapi.json": "openapi.json",
    }
    for path, file in pages.items():
        app.add_url_rule(path, re.sub("[./]", "_", file), partial(app.send_static_file, file))
    return app


def _open_inbox(settings: Settings) -> Inbox | None:
    inbox = create_inbox(settings)
    if inbox:
        try:
            inbox.open()
        except InboxError as error:  # photos are classified without it, and feedback is answered with this error
            _log.error("feedback is not stored: %s", error)
    return inbox


def serve() -> Flask:
    """Create the application for gunicorn; on a SeeFoodError, print one sentence and exit."""
    try:
        app = create_app()
    except SeeFoodError as error:
        sys.stderr.write(f"seefood: {error}\n")
        sys.exit(_EXIT_STATUS)
    # gunicorn sends the headers of a response, then its body. With the default switch interval of 5 ms, a thread often
    # waits for the interpreter between the two, and a killed process then loses half a response.
    sys.setswitchinterval(0.0005)
    app.extensions["decoders"].warm_up()
    app.extensions["model_manager"].watch()
    app.extensions["shadow"].start()
    return app
