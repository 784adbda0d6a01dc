"""Prometheus metrics of requests, photos and the served model; docs/operations.md lists them."""

import time
from functools import partial

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from service import __version__
from service.inference import Prediction
from service.model import Model, Verdict

disable_created_metrics()  # type: ignore[no-untyped-call]  # creation times double the number of series
registry = CollectorRegistry()  # the default one describes the process, which is wrong with decoder processes
_counter, _histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
_gauge = partial(Gauge, registry=registry)

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_TENTHS = [tenth / 10 for tenth in range(1, 11)]

_requests = _counter("seefood_requests_total", "Requests answered.", ["method", "route", "status"])
refused = _counter("seefood_refused_requests_total", "Requests refused with 429 at a concurrency limit.")
_duration = _histogram(
    "seefood_request_duration_seconds", "Time from a request's headers to its response, its body included.", ["route"]
)
_decode = _histogram("seefood_decode_seconds", "Time to decode one photo.")
_queue = _histogram("seefood_queue_seconds", "Time that one photo waits for a decoder and for the model.")
_inference = _histogram("seefood_inference_seconds", "Duration of the batch that a photo was in.")
_batch = _histogram("seefood_batch_size", "Photos in the batch that a photo was in.", buckets=[1, 2, 4, 8, 16, 32])
_predictions = _counter("seefood_predictions_total", "Photos classified.", ["label"])
_probability = _histogram("seefood_probability", "Probability of the positive label of one photo.", buckets=_TENTHS)
_model = ["name", "version", "file", "device", "provider"]
_model_info = _gauge("seefood_model_info", "The served model; always 1.", _model)
_build_info = _gauge("seefood_build_info", "The version of the service; always 1.", ["version"])
_max_in_flight = _gauge("seefood_photo_places", "Limit on the photos in flight.")
in_flight = _gauge("seefood_photos_under_way", "Photos in flight: being received, decoded or classified, or waiting.")
collected = _counter("seefood_collected_photos_total", "Photos chosen for the inbox by the verdict.", ["outcome"])
rejected_models = _counter("seefood_model_refused_total", "Versions in the registry that can't be served.")
_shadow_photos = _counter("seefood_shadow_photos_total", "Photos that the candidate answered too.", ["outcome"])
_shadow_difference = _histogram(
    "seefood_shadow_difference", "Absolute difference between the two probabilities of one photo.", buckets=_TENTHS
)
_shadow_seconds = _histogram("seefood_shadow_seconds", "Duration of one inference of the candidate.")
shadow_dropped = _counter("seefood_shadow_dropped_total", "Photos left out of the comparison, because of the load.")
shadow_refused = _counter("seefood_shadow_refused_total", "Candidates that can't be compared with the served model.")
shadow_info = _gauge("seefood_shadow_info", "The candidate; always 1.", ["version"])
for _outcome in ("agreed", "candidate positive", "candidate negative"):
    _shadow_photos.labels(_outcome)  # a rate needs the 0 before the first photo


def register(app: Flask, max_in_flight: int) -> None:
    """Count the requests of the application, and export its version and its limit on photos in flight."""
    _build_info.labels(__version__).set(1)
    _max_in_flight.set(max_in_flight)
    app.after_request(_count_request)


def set_model(model: Model) -> None:
    """Export which model is served."""
    meta = model.metadata
    _model_info.clear()
    _model_info.labels(meta.name, meta.version, model.path.name, model.device, model.provider).set(1)
    for label in (meta.positive_label, meta.negative_label):
        _predictions.labels(label)  # a rate needs the 0 before the first photo


def count_photo(model: Model, prediction: Prediction, queue_seconds: float, decode_seconds: float) -> None:
    """Count one classified photo."""
    _predictions.labels(model.verdict(prediction.probability, prediction.familiarity).label).inc()
    _probability.observe(prediction.probability)
    _decode.observe(decode_seconds)
    _queue.observe(queue_seconds)
    _inference.observe(prediction.inference_seconds)
    _batch.observe(prediction.batch_size)


def count_shadow(served: Verdict, candidate: Verdict, seconds: float) -> None:
    """Count one photo that the served model and the candidate answered, the candidate in so many seconds."""
    disagreement = "candidate positive" if candidate.positive else "candidate negative"
    _shadow_photos.labels("agreed" if candidate.positive == served.positive else disagreement).inc()
    _shadow_difference.observe(abs(candidate.probability - served.probability))
    _shadow_seconds.observe(seconds)


def _count_request(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"  # bounds the number of series
    _requests.labels(method, route, response.status_code).inc()
    _duration.labels(route).observe(time.perf_counter() - g.started)
    return response
