"""What Prometheus is told: requests, photos and the model, summed over the workers; docs/operations.md lists it all."""

import os
import time
from functools import partial

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from service.batcher import Answer
from service.metrics_folder import VARIABLE
from service.model import Model, Verdict

disable_created_metrics()  # type: ignore[no-untyped-call]  # they are lost between processes
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
_info = _gauge("seefood_model_info", "The served model; always 1.", _model, multiprocess_mode="livemax")
_places = _gauge("seefood_photo_places", "Photos that may be read or wait.", multiprocess_mode="livesum")
under_way = _gauge("seefood_photos_under_way", "Photos that are read or wait.", multiprocess_mode="livesum")


def register(app: Flask, model: Model) -> None:
    """Count the app's requests, and say which model answers them and how many photos may wait for it."""
    meta = model.metadata
    _info.labels(meta.name, meta.version, model.path.name, model.device, model.provider).set(1)
    _places.set(app.extensions["pipeline"].places)
    for label in (meta.positive_label, meta.negative_label):
        _predictions.labels(label)  # a rate needs the 0 before the first
    app.after_request(_count_request)


def count_photo(verdict: Verdict, answer: Answer, *, waited: float, decoded: float) -> None:
    """Count one photo that was answered; times in seconds."""
    _predictions.labels(verdict.label).inc()
    _probability.observe(answer.probability)
    _decode.observe(decoded)
    _queue.observe(waited)
    _inference.observe(answer.inferred)
    _batch.observe(answer.batch)


def exposition(accept: str) -> tuple[bytes, str]:
    """Return the metrics of all workers, in the format that an Accept header asks for, and its content type."""
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # what it raises of a version that is no number
        encode, content_type = choose_encoder("")
    if os.environ.get(VARIABLE):
        return encode(MultiProcessCollector(None)), content_type  # type: ignore[no-untyped-call]
    return encode(registry), content_type


def _count_request(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in _METHODS else "other"  # a client may make up as many as it likes
    _requests.labels(method, route, response.status_code).inc()
    _duration.labels(route).observe(time.perf_counter() - g.started)
    if response.status_code == 429:
        _refused.inc()
    return response
