"""Photos are answered in their order, each in time or given up, and a bad one costs the others nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.decoders import Decoders
from service.errors import Late
from service.inference import Inference
from service.metrics import registry
from service.model import open_model
from service.photo import PhotoError
from service.pipeline import Done, answer_photos, answer_squares
from service.serving import Served
from service.settings import Settings
from tests.fixtures.drawing import draw, encode
from tests.fixtures.tiny_model import SIZE

RED = encode(Image.new("RGB", (60, 40), (255, 0, 0)), "PNG")
BLUE = encode(Image.new("RGB", (60, 40), (0, 0, 255)), "PNG")
SLOW = encode(draw("hotdog", 1, (5000, 5000)), "PNG")  # takes a second or so


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    running = Decoders(2, seconds=60)
    yield running
    running.close()


@pytest.fixture(scope="module")
def served(tiny_models: Path) -> Served:
    return Served.of(open_model(tiny_models), Settings())


def _counted() -> float:
    return registry.get_sample_value("seefood_decode_seconds_count") or 0


def test_photos_are_answered_in_their_order_and_bad_ones_in_their_place(served: Served, decoders: Decoders) -> None:
    before = _counted()
    photos = [RED, b"broken", BLUE, RED, BLUE, BLUE]
    done = answer_photos(served, decoders, photos, 60)
    assert [round(one.answer.probability) if isinstance(one, Done) else None for one in done] == [1, None, 0, 1, 0, 0]
    assert isinstance(done[1], PhotoError)
    answered = [one for one in done if isinstance(one, Done)]
    assert min(min(one.waited, one.decoded, one.answer.inferred) for one in answered) >= 0
    assert {one.pixels.shape for one in answered} == {(SIZE, SIZE, 3)}
    assert _counted() - before == 5, "bad ones are not counted"


def test_who_waits_longer_than_the_deadline_is_told_and_the_rest_is_given_up(
    served: Served, decoders: Decoders
) -> None:
    before = _counted()
    with pytest.raises(Late):
        answer_photos(served, decoders, [SLOW] * 20, 0.3)
    (done,) = answer_photos(served, decoders, [RED], 10)
    assert isinstance(done, Done), "the large ones are not decoded first"
    assert _counted() - before == 1


def test_a_failure_of_the_model_gives_the_rest_up(
    served: Served, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inference, "answer", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        answer_photos(served, decoders, [RED, *[SLOW] * 20], 60)
    monkeypatch.undo()
    assert isinstance(answer_photos(served, decoders, [RED], 10)[0], Done)


def test_squares_are_answered_in_their_order(served: Served) -> None:
    squares = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    squares[1, ..., 0] = squares[0, ..., 2] = squares[2, ..., 2] = 255
    assert [round(one.probability) for one in answer_squares(served, squares, 60)] == [0, 1, 0]
