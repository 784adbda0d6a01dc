"""The way of a photo: bytes -> square, in a decoder process -> answer, by the model."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service import metrics
from service.batcher import Answer
from service.decoders import Decoders
from service.photo import PhotoError, Pixels
from service.serving import Served


@dataclass(frozen=True)
class Done:
    """One photo's square and answer, and where its time went, in seconds."""

    pixels: Pixels
    answer: Answer
    waited: float
    decoded: float


def answer_photos(
    served: Served, decoders: Decoders, photos: Sequence[bytes], seconds: float
) -> list[Done | PhotoError]:
    """Decode and answer photos, in their order; a photo that can't be used is its error.

    Raises:
        Late: they were not all answered in so many seconds; what had not begun never will.
    """
    until = time.monotonic() + seconds

    def answer_one(photo: bytes) -> Done | PhotoError:
        try:
            decoded = decoders.square(photo, served.model.size, until)
        except PhotoError as error:
            return error
        answer = served.inference.answer(decoded.value, until)
        return Done(decoded.value, answer, decoded.waited + answer.queued, decoded.took)

    if len(photos) == 1:
        done = [answer_one(photos[0])]
    else:
        pool = ThreadPoolExecutor(min(len(photos), decoders.count))
        try:
            done = list(pool.map(answer_one, photos))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    for one in done:
        if isinstance(one, Done):
            _count(served, one.answer, waited=one.waited, decoded=one.decoded)
    return done


def answer_squares(served: Served, squares: Pixels, seconds: float) -> list[Answer]:
    """Answer squares, uint8 [N, S, S, 3], in their order; raises Late."""
    until = time.monotonic() + seconds
    answers = [served.inference.answer(square, until) for square in squares]
    for answer in answers:
        _count(served, answer, waited=answer.queued, decoded=0)
    return answers


def _count(served: Served, answer: Answer, *, waited: float, decoded: float) -> None:
    verdict = served.model.verdict(answer.probability, answer.familiarity)
    metrics.count_photo(verdict, answer, waited=waited, decoded=decoded)
