"""Prometheus metrics of requests, photos and the served model; docs/operations.md lists them."""

import math
import time
from functools import partial

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from service import __version__
from service.drift import Drift
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
_max_in_flight = _gauge("seefood_max_photos_in_flight", "Limit on the photos in flight.")
in_flight = _gauge("seefood_photos_in_flight", "Photos in flight: being received, decoded or classified, or waiting.")
collected = _counter("seefood_collected_photos_total", "Photos chosen for the inbox by the verdict.", ["outcome"])
rejected_models = _counter("seefood_model_refused_total", "Versions in the registry that can't be served.")
rollbacks = _counter("seefood_model_rollbacks_total", "Versions that another mix of labels took out of service.")
_shadow_photos = _counter("seefood_shadow_photos_total", "Photos that the candidate answered too.", ["outcome"])
_shadow_difference = _histogram(
    "seefood_shadow_difference", "Absolute difference between the two probabilities of one photo.", buckets=_TENTHS
)
_shadow_seconds = _histogram("seefood_shadow_seconds", "Duration of one inference of the candidate.")
shadow_dropped = _counter("seefood_shadow_dropped_total", "Photos left out of the comparison, because of the load.")
shadow_refused = _counter("seefood_shadow_refused_total", "Candidates that can't be compared with the served model.")
shadow_info = _gauge("seefood_shadow_info", "The candidate; always 1.", ["version"])
_statistic = _gauge("seefood_drift_statistic", "Kolmogorov-Smirnov statistic of the last photos and the reference.")
_critical = _gauge("seefood_drift_critical", "Value of the statistic that chance exceeds with a probability of 0.001.")
_share = _gauge("seefood_drift_share", "Share of photos with a verdict of this kind.", ["kind", "photos"])
_reference = _gauge("seefood_drift_reference_info", "What the last photos are compared with; always 1.", ["source"])
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
    for label in meta.labels:
        _predictions.labels(label)  # a rate needs the 0 before the first photo


def count_photo(prediction: Prediction, queue_seconds: float, decode_seconds: float) -> None:
    """Count one classified photo."""
    _predictions.labels(prediction.verdict.label).inc()
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


def set_drift(drift: Drift | None) -> None:
    """Export the drift of the served model; None: there are too few photos, so the values are not numbers."""
    _reference.clear()
    _statistic.set(drift.statistic if drift else math.nan)
    _critical.set(drift.critical if drift else math.nan)
    for photos, sample in {"live": drift and drift.live, "reference": drift and drift.reference}.items():
        for kind in ("uncertain", "unfamiliar"):
            share = getattr(sample, kind, None)
            _share.labels(kind, photos).set(math.nan if share is None else share)
    if drift:
        _reference.labels(drift.source).set(1)


def _count_request(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"  # bounds the number of series
    _requests.labels(method, route, response.status_code).inc()
    _duration.labels(route).observe(time.perf_counter() - g.started)
    return response
