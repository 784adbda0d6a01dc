"""Only so many photos are under way at a time, and each is answered in time or given up."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service.errors import Full
from service.model import open_model
from service.photo import PhotoError, Pixels, UndecodablePhoto
from service.pipeline import Done, Late, Pipeline
from tests.fixtures.tiny_model import SIZE


@pytest.fixture
def pipeline(tiny_models: Path) -> Iterator[Pipeline]:
    line = Pipeline(open_model(tiny_models), places=3, decoders=2, largest_batch=4)
    yield line
    line.close()


def _red() -> Pixels:
    return np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)


def _blue() -> Pixels:
    return np.full((SIZE, SIZE, 3), (0, 0, 255), np.uint8)


def _broken() -> Pixels:
    raise UndecodablePhoto("The photo is broken.")


def test_photos_are_answered_in_their_order_and_bad_ones_in_their_place(pipeline: Pipeline) -> None:
    red, broken, blue = pipeline.answer([_red, _broken, _blue], 5)
    assert isinstance(red, Done)
    assert isinstance(blue, Done)
    assert isinstance(broken, PhotoError)
    assert (round(red.answer.probability), round(blue.answer.probability)) == (1, 0)
    assert min(red.waited, red.decoded) >= 0
    assert pipeline.under_way == 0


def test_more_than_there_are_places_for_is_refused_and_nothing_read(pipeline: Pipeline) -> None:
    read: list[int] = []
    with pytest.raises(Full):
        pipeline.answer([lambda: read.append(1) or _red()] * 4, 5)  # type: ignore[func-returns-value]
    assert not read
    assert not pipeline.full


def test_a_place_is_free_again_however_its_photo_ended(pipeline: Pipeline) -> None:
    go = threading.Event()

    def held() -> Pixels:
        assert go.wait(10)
        return _red()

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(pipeline.answer, [held, held, held], 5)
        _until(lambda: pipeline.full)
        with pytest.raises(Full):
            pipeline.answer([_red], 5)
        go.set()
        assert len(waiting.result(5)) == 3
    pipeline.answer([_broken, _broken], 5)
    with pytest.raises(ZeroDivisionError):
        pipeline.answer([lambda: _red() // (1 // 0)], 5)
    assert pipeline.under_way == 0


def test_who_waits_longer_than_the_deadline_is_told_and_the_rest_is_given_up(pipeline: Pipeline) -> None:
    go = threading.Event()
    read: list[int] = []

    def held() -> Pixels:
        assert go.wait(10)
        return _red()

    def noted() -> Pixels:
        read.append(1)
        return _red()

    started = time.monotonic()
    with pytest.raises(Late):
        pipeline.answer([held, held, noted], 0.2)
    assert time.monotonic() - started < 5
    assert pipeline.under_way == 0
    go.set()
    (done,) = pipeline.answer([_blue], 5)
    assert isinstance(done, Done)
    assert not read, "a photo that nobody waits for is not decoded"


def _until(true: object, seconds: float = 5) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
