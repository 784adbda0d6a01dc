"""What Prometheus is told: requests, photos and the model; docs/operations.md lists it all."""

import time
from functools import partial

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from service.batcher import Answer
from service.model import Model, Verdict

disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, which nobody asks for
registry = CollectorRegistry()  # of its own: what the default one says of a process is wrong for several
_counter, _histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
_gauge = partial(Gauge, registry=registry)

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_TENTHS = [tenth / 10 for tenth in range(1, 11)]

_requests = _counter("seefood_requests_total", "Requests answered.", ["method", "route", "status"])
_refused = _counter("seefood_refused_requests_total", "Requests refused with 429, as too much was under way.")
_duration = _histogram(
    "seefood_request_duration_seconds", "From a request's headers to its answer, its body included.", ["route"]
)
_decode = _histogram("seefood_decode_seconds", "Decoding of one photo.")
_queue = _histogram("seefood_queue_seconds", "Waiting of one photo, for a decoder and for the model.")
_inference = _histogram("seefood_inference_seconds", "Inference of the batch that a photo was in.")
_batch = _histogram("seefood_batch_size", "Photos in the batch that a photo was in.", buckets=[1, 2, 4, 8, 16, 32])
_predictions = _counter("seefood_predictions_total", "Photos answered.", ["label"])
_probability = _histogram("seefood_probability", "Probability of the positive label of one photo.", buckets=_TENTHS)
_model = ["name", "version", "file", "device", "provider"]
_info = _gauge("seefood_model_info", "The served model; always 1.", _model)
_places = _gauge("seefood_photo_places", "Photos that may be read or wait.")
under_way = _gauge("seefood_photos_under_way", "Photos that are read or wait.")
refused_models = _counter("seefood_model_refused_total", "Versions that the registry named and that can't be served.")


def register(app: Flask, photos: int) -> None:
    """Count the app's requests, and say how many photos may be under way."""
    _places.set(photos)
    app.after_request(_count_request)


def tell_model(now: Model) -> None:
    """Say which model answers, in place of another."""
    meta = now.metadata
    _info.clear()
    _info.labels(meta.name, meta.version, now.path.name, now.device, now.provider).set(1)
    for label in (meta.positive_label, meta.negative_label):
        _predictions.labels(label)  # a rate needs the 0 before the first


def count_photo(verdict: Verdict, answer: Answer, *, waited: float, decoded: float) -> None:
    """Count one photo that was answered; times in seconds."""
    _predictions.labels(verdict.label).inc()
    _probability.observe(answer.probability)
    _decode.observe(decoded)
    _queue.observe(waited)
    _inference.observe(answer.inferred)
    _batch.observe(answer.batch)


def exposition(accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that an Accept header asks for, and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # what it raises of a version that is no number
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


def _count_request(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"  # a client may make up as many as it likes
    _requests.labels(method, route, response.status_code).inc()
    _duration.labels(route).observe(time.perf_counter() - g.started)
    if response.status_code == 429:
        _refused.inc()
    return response
