"""Results are in the order of the photos, within the deadline, and a bad photo does not affect the others."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.decoders import Decoders
from service.errors import DeadlineExceeded
from service.inference import Inference
from service.metrics import registry
from service.model import open_model
from service.model_manager import ServedModel
from service.photo import PhotoError
from service.pipeline import ClassifiedPhoto, classify_photos, classify_squares
from tests.fixtures.drawing import draw, encode
from tests.fixtures.painting import BLUE, RED
from tests.fixtures.tiny_model import SIZE

SLOW = encode(draw("hotdog", 1, (5000, 5000)), "PNG")  # takes about one second


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    running = Decoders(2, seconds=60)
    yield running
    running.close()


@pytest.fixture(scope="module")
def served(tiny_models: Path) -> ServedModel:
    return ServedModel.prepare(open_model(tiny_models))


def _counted() -> float:
    return registry.get_sample_value("seefood_decode_seconds_count") or 0


def test_results_are_in_the_order_of_the_photos(served: ServedModel, decoders: Decoders) -> None:
    before = _counted()
    photos = [RED, b"broken", BLUE, RED, BLUE, BLUE]
    done = classify_photos(served, decoders, photos, 60)
    assert [round(one.prediction.probability) if isinstance(one, ClassifiedPhoto) else None for one in done] == [
        1,
        None,
        0,
        1,
        0,
        0,
    ]
    assert isinstance(done[1], PhotoError)
    answered = [one for one in done if isinstance(one, ClassifiedPhoto)]
    assert min(min(one.queue_seconds, one.decode_seconds, one.prediction.inference_seconds) for one in answered) >= 0
    assert {one.pixels.shape for one in answered} == {(SIZE, SIZE, 3)}
    assert _counted() - before == 5, "bad ones are not counted"


def test_the_deadline_cancels_the_remaining_photos(served: ServedModel, decoders: Decoders) -> None:
    before = _counted()
    with pytest.raises(DeadlineExceeded):
        classify_photos(served, decoders, [SLOW] * 20, 0.3)
    (done,) = classify_photos(served, decoders, [RED], 10)
    assert isinstance(done, ClassifiedPhoto), "the skipped photos are not decoded first"
    assert _counted() - before == 1


def test_a_model_error_cancels_the_remaining_photos(
    served: ServedModel, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inference, "predict", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        classify_photos(served, decoders, [RED, *[SLOW] * 20], 60)
    monkeypatch.undo()
    assert isinstance(classify_photos(served, decoders, [RED], 10)[0], ClassifiedPhoto)


def test_squares_are_classified_in_their_order(served: ServedModel) -> None:
    squares = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    squares[1, ..., 0] = squares[0, ..., 2] = squares[2, ..., 2] = 255
    assert [round(one.probability) for one in classify_squares(served, squares, 60)] == [0, 1, 0]
