"""Score photos in batches on all CPUs, with the same results as the service."""

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

BATCH_SIZE = {"cpu": 2, "cuda": 8}  # by device; larger batches are slower per photo on a CPU

Outcome = Verdict | str  # a sentence says why a photo can't be read
AnyAddress = TypeVar("AnyAddress", bound=Address)


def score(
    model: Model, photos: Iterable[AnyAddress], threads: int = 0
) -> Generator[tuple[AnyAddress, Outcome], None, None]:
    """Yield each photo, in order, with its verdict or with the reason why it can't be read.

    Args:
        model: each thread runs it on a batch.
        photos: files or URLs; at most two batches per thread are read ahead.
        threads: number of threads; 0: one per CPU.
    """
    threads = threads or loky.cpu_count()
    remaining = iter(photos)
    batches: deque[tuple[list[AnyAddress], Future[list[Outcome]]]] = deque()
    with closing(Decoders(threads)) as decoders, ThreadPoolExecutor(threads) as pool:
        try:
            while batch := list(islice(remaining, BATCH_SIZE[model.device])):
                batches.append((batch, pool.submit(_score, model, decoders, batch)))
                if len(batches) == 2 * threads:
                    yield from _outcomes(*batches.popleft())
            while batches:
                yield from _outcomes(*batches.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcomes(batch: list[AnyAddress], outcomes: Future[list[Outcome]]) -> Iterator[tuple[AnyAddress, Outcome]]:
    return zip(batch, outcomes.result(), strict=True)


def _score(model: Model, decoders: Decoders, batch: Iterable[Address]) -> list[Outcome]:
    photos = [_read(photo, decoders, model.size) for photo in batch]
    pixels = [photo for photo in photos if not isinstance(photo, str)]
    outputs = model.run(np.stack(pixels)).each() if pixels else iter(())
    verdicts = (model.verdict(probability, familiarity) for probability, _, familiarity in outputs)
    return [photo if isinstance(photo, str) else next(verdicts) for photo in photos]


def _read(photo: Address, decoders: Decoders, size: int) -> Pixels | str:
    try:
        return decoders.square(read(photo), size)[0]
    except PhotoError as error:
        return str(error)
    except OSError as error:
        return f"The file can't be read: {error.strerror or first_line(error)}."
