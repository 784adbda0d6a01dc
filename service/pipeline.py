"""The steps for each photo of a request: decode in another process, run the model, count it in the metrics."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service import metrics
from service.decoders import Decoders
from service.inference import Prediction
from service.model_manager import ServedModel
from service.photo import PhotoError, Pixels


@dataclass(frozen=True)
class ClassifiedPhoto:
    """A decoded photo, uint8 [S, S, 3], and its prediction; queue_seconds is the wait for a decoder and the model."""

    pixels: Pixels
    prediction: Prediction
    queue_seconds: float
    decode_seconds: float


def classify_photos(
    served: ServedModel, decoders: Decoders, photos: Sequence[bytes], seconds: float
) -> list[ClassifiedPhoto | PhotoError]:
    """Decode and classify photos; the results are in the order of the photos, with a PhotoError for an unusable one.

    Raises:
        DeadlineExceeded: not all were classified within `seconds`; photos that had not started are skipped.
    """
    deadline = time.monotonic() + seconds

    def classify(photo: bytes) -> ClassifiedPhoto | PhotoError:
        since = time.perf_counter()
        try:
            pixels, decode_seconds = decoders.square(photo, served.model.size, deadline)
        except PhotoError as error:
            return error
        queue_seconds = time.perf_counter() - since - decode_seconds
        prediction = served.inference.predict(pixels, deadline)
        return ClassifiedPhoto(pixels, prediction, queue_seconds + prediction.queue_seconds, decode_seconds)

    if len(photos) == 1:
        results = [classify(photos[0])]
    else:
        pool = ThreadPoolExecutor(min(len(photos), decoders.count))
        try:
            results = list(pool.map(classify, photos))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    for each in results:
        if isinstance(each, ClassifiedPhoto):
            _count(served, each.prediction, each.queue_seconds, each.decode_seconds)
    return results


def classify_squares(served: ServedModel, squares: Pixels, seconds: float) -> list[Prediction]:
    """Classify squares, uint8 [N, S, S, 3], in their order; raises DeadlineExceeded after `seconds`."""
    deadline = time.monotonic() + seconds
    predictions = [served.inference.predict(square, deadline) for square in squares]
    for each in predictions:
        _count(served, each, each.queue_seconds, decode_seconds=0)
    return predictions


def _count(served: ServedModel, prediction: Prediction, queue_seconds: float, decode_seconds: float) -> None:
    served.live.add(prediction.verdict)
    metrics.count_photo(prediction, queue_seconds, decode_seconds)
