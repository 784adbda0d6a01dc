"""A CPU runs one more photo at a time than there are CPUs, CUDA runs batches, and no wait exceeds the deadline."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import loky
import numpy as np
import pytest

from service.errors import DeadlineExceeded
from service.inference import MAX_BATCH_SIZE, Inference, Prediction
from service.model import Model, Outputs
from service.model_manager import ServedModel
from service.photo import Pixels
from tests.fixtures.load import until
from tests.fixtures.tiny_model import SIZE, write_tiny_model

RED = np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)


class Held(Model):
    """A model that records its batch sizes, and can be paused."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.batches: list[int] = []
        self.go = threading.Event()

    def run(self, pixels: Pixels) -> Outputs:
        self.batches.append(len(pixels))
        assert self.go.wait(20)
        return super().run(pixels)


@pytest.fixture
def model(tmp_path: Path) -> Held:
    return Held(write_tiny_model(tmp_path / "model.onnx"))


def _soon() -> float:
    return time.monotonic() + 20


def test_a_cpu_runs_one_more_photo_at_a_time_than_cpus(model: Held) -> None:
    turns = loky.cpu_count() + 1
    inference = Inference(model)
    with ThreadPoolExecutor(turns + 2) as pool:
        asked = [pool.submit(inference.predict, RED, _soon()) for _ in range(turns + 2)]
        until(lambda: len(model.batches) == turns)
        with pytest.raises(DeadlineExceeded):
            inference.predict(RED, time.monotonic() + 0.2)
        assert model.batches == [1] * turns, "the others wait"
        model.go.set()
        answers = [one.result(20) for one in asked]
    assert model.batches == [1] * (turns + 2)
    assert {round(answer.probability) for answer in answers} == {1}
    assert {(answer.batch_size, answer.heatmap.shape, answer.familiarity) for answer in answers} == {(1, (2, 2), 0)}
    assert all(answer.queue_seconds >= 0 and answer.inference_seconds > 0 for answer in answers)


def test_an_error_releases_its_slot(model: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    inference = Inference(model)
    monkeypatch.setattr(model, "run", lambda _: 1 // 0)
    for _ in range(loky.cpu_count() + 2):
        with pytest.raises(ZeroDivisionError):
            inference.predict(RED, _soon())
    monkeypatch.undo()
    model.go.set()
    assert inference.predict(RED, _soon()).probability > 0.9


@pytest.fixture
def cuda(model: Held, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Future[Prediction]]]:
    """Return a function that asks for a square of a level, in batches of at most four.

    The model runs on a CPU; only its attribute `device` is changed, which selects batching.
    """
    monkeypatch.setattr("service.inference.MAX_BATCH_SIZE", 4)
    model.device = "cuda"
    inference = Inference(model)
    with ThreadPoolExecutor(20) as pool:
        yield lambda level: pool.submit(inference.predict, _grey_red(level), _soon())
        model.go.set()


def _grey_red(level: int) -> Pixels:
    """Return a square whose probability depends on its level, from 0 to 60."""
    photo = np.full((SIZE, SIZE, 3), 100, np.uint8)
    photo[..., 0] += level
    return photo


def _expected(level: int) -> float:
    return float(1 / (1 + np.exp(-level / 16)))


def test_an_idle_model_runs_a_photo_immediately(model: Held, cuda: Callable[[int], Future[Prediction]]) -> None:
    model.go.set()
    for level in (0, 20, 40):
        answer = cuda(level).result(5)
        assert answer.probability == pytest.approx(_expected(level), abs=1e-5)
        assert (answer.heatmap.shape, answer.familiarity) == ((2, 2), -100)
        assert (answer.batch_size, answer.queue_seconds >= 0, answer.inference_seconds > 0) == (1, True, True)
    assert model.batches == [1, 1, 1]


def test_photos_that_wait_form_a_batch(model: Held, cuda: Callable[[int], Future[Prediction]]) -> None:
    first = cuda(0)
    until(lambda: model.batches)
    waiting = [cuda(level) for level in range(1, 7)]
    time.sleep(0.5)
    model.go.set()
    answers = [future.result(20) for future in (first, *waiting)]
    assert model.batches == [1, 4, 2]
    assert [answer.probability for answer in answers] == pytest.approx([_expected(n) for n in range(7)], abs=1e-5)
    assert sorted(answer.batch_size for answer in answers) == [1, 2, 2, 4, 4, 4, 4]


def test_a_photo_past_its_deadline_is_not_classified(model: Held) -> None:
    model.device = "cuda"
    inference = Inference(model)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(inference.predict, RED, _soon())
        until(lambda: model.batches)
        with pytest.raises(DeadlineExceeded):
            inference.predict(RED, time.monotonic() + 0.2)
        rest = [pool.submit(inference.predict, RED, _soon()) for _ in range(4)]
        time.sleep(0.5)
        model.go.set()
        assert [one.result(20).batch_size for one in (first, *rest)] == [1, 4, 4, 4, 4], "without the cancelled request"
    assert model.batches == [1, 4]


def test_an_error_reaches_its_batch_only(
    model: Held, cuda: Callable[[int], Future[Prediction]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cuda(0)
    until(lambda: model.batches)
    failed = [cuda(level) for level in (1, 2)]
    time.sleep(0.5)
    monkeypatch.setattr(model, "run", lambda _: 1 // 0)
    model.go.set()
    assert first.result(20).probability == pytest.approx(_expected(0), abs=1e-5)
    for each in failed:
        with pytest.raises(ZeroDivisionError):
            each.result(20)
    monkeypatch.delattr(model, "run")
    assert cuda(1).result(20).probability == pytest.approx(_expected(1), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_concurrent_callers_get_their_own_predictions(
    model: Held, cuda: Callable[[int], Future[Prediction]], seed: int
) -> None:
    model.go.set()
    levels = np.random.default_rng(seed).integers(61, size=300).tolist()
    answers = [each.result(20).probability for each in [cuda(level) for level in levels]]
    assert answers == pytest.approx([_expected(level) for level in levels], abs=1e-5)
    assert sum(model.batches) == len(levels)
    assert max(model.batches) > 1


@pytest.mark.parametrize(("device", "largest"), [("cpu", 1), ("cuda", MAX_BATCH_SIZE)])
def test_every_batch_size_is_warmed_up(model: Held, device: str, largest: int) -> None:
    model.device = device
    model.go.set()
    assert ServedModel.prepare(model).model.warm
    assert model.batches == list(range(1, largest + 1))
