"""The application: settings, model, routes and error bodies, wired together."""

import sys
from dataclasses import replace

import loky
from flask import Flask, Response

from service import access, logs, metrics, problems
from service.api import api
from service.errors import SeeFoodError
from service.feedback import open_feedback
from service.model import Model, open_model
from service.oip import oip
from service.ops import ops
from service.pipeline import Pipeline
from service.reference import reference
from service.settings import Settings
from service.uploads import StrictRequest

LARGEST_BATCH = {"cpu": 2, "cuda": 32}  # by device: a CPU takes as long for two as for one and one again
_CANT_LOAD = 4  # the exit status on which gunicorn stops the service instead of starting the worker again


def create_app(settings: Settings | None = None, model: Model | None = None) -> Flask:
    """Make the application of one worker, its model opened here, after the fork, and warmed up.

    Raises:
        SeeFoodError: a setting can't be used, or the model or the folder for feedback can't be opened.
    """
    settings = settings or Settings.from_env()
    if model is None:
        model = open_model(settings.models, settings.model, settings.device, settings.precision)
        model.warm_up(LARGEST_BATCH[model.device])
    app = Flask(__name__, static_folder="web", static_url_path="/web")
    app.request_class = StrictRequest
    # Base64 makes a photo a third larger, and multipart adds a few lines.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_bytes * 4 // 3 + 65536
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions |= {"settings": settings, "model": model, "pipeline": _pipeline(settings, model)}
    app.extensions["feedback"] = open_feedback(settings, model)
    access.register(app, settings)
    logs.register(app)
    metrics.register(app, model)
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


def worker(version: str = "") -> Flask:
    """Make the application for gunicorn: what can't be served ends the worker with one sentence on stderr."""
    try:
        settings = Settings.from_env()
        return create_app(replace(settings, model=version or settings.model))
    except SeeFoodError as error:
        sys.stderr.write(f"seefood: {error}\n")
        sys.exit(_CANT_LOAD)


def _pipeline(settings: Settings, model: Model) -> Pipeline:
    decoders = max(1, loky.cpu_count() // settings.processes)
    return Pipeline(model, places=settings.queue, decoders=decoders, largest_batch=LARGEST_BATCH[model.device])
