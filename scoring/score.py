"""Photos to verdicts, in batches and on every CPU, exactly as the service answers them."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

import loky
import numpy as np

from scoring.sources import Address, first_line, read
from service.decoders import Decoders
from service.model import Model, Verdict
from service.photo import PhotoError, Pixels

BATCH_SIZE = {"cpu": 2, "cuda": 8}  # by device; larger ones take a CPU longer a photo

Answer = Verdict | str  # or the sentence that says why a photo can't be read
AnyAddress = TypeVar("AnyAddress", bound=Address)


def score(
    model: Model, photos: Iterable[AnyAddress], threads: int = 0
) -> Generator[tuple[AnyAddress, Answer], None, None]:
    """Yield each photo with its verdict, or with the sentence that says why it can't be read, in order.

    So many threads, or one for each CPU, each read a batch and run the model on it; that model is best opened with one
    thread of its own. No more than two batches a thread are taken from `photos` before their answers are.
    """
    threads = threads or loky.cpu_count()
    remaining = iter(photos)
    batches: deque[tuple[list[AnyAddress], Future[list[Answer]]]] = deque()
    with closing(Decoders(threads)) as decoders, ThreadPoolExecutor(threads) as pool:
        try:
            while batch := list(islice(remaining, BATCH_SIZE[model.device])):
                batches.append((batch, pool.submit(_score, model, decoders, batch)))
                if len(batches) == 2 * threads:
                    yield from _answered(*batches.popleft())
            while batches:
                yield from _answered(*batches.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _answered(batch: list[AnyAddress], answers: Future[list[Answer]]) -> Iterator[tuple[AnyAddress, Answer]]:
    return zip(batch, answers.result(), strict=True)


def _score(model: Model, decoders: Decoders, batch: Iterable[Address]) -> list[Answer]:
    photos = [_read(photo, decoders, model.size) for photo in batch]
    pixels = [photo for photo in photos if not isinstance(photo, str)]
    answers = model.run(np.stack(pixels)).each() if pixels else iter(())
    verdicts = (model.verdict(probability, familiarity) for probability, _, familiarity in answers)
    return [photo if isinstance(photo, str) else next(verdicts) for photo in photos]


def _read(photo: Address, decoders: Decoders, size: int) -> Pixels | str:
    try:
        return decoders.square(read(photo), size).value
    except PhotoError as error:
        return str(error)
    except OSError as error:
        return f"The file can't be read: {error.strerror or first_line(error)}."
