"""A CPU runs one more photo at a time than there are CPUs, CUDA runs batches, and no wait exceeds the deadline."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import loky
import numpy as np
import pytest

from service.errors import DeadlineExceeded
from service.inference import MAX_BATCH_SIZE, Inference
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
    assert all(answer.queue_seconds >= 0 < answer.inference_seconds for answer in answers)


def test_an_error_releases_its_slot(model: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    inference = Inference(model)
    monkeypatch.setattr(model, "run", lambda _: 1 // 0)
    for _ in range(loky.cpu_count() + 2):
        with pytest.raises(ZeroDivisionError):
            inference.predict(RED, _soon())
    monkeypatch.undo()
    model.go.set()
    assert inference.predict(RED, _soon()).probability > 0.9


def test_cuda_runs_waiting_photos_as_one_batch(model: Held) -> None:
    """The model runs on a CPU; only its attribute `device` is changed, which selects batching."""
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


@pytest.mark.parametrize(("device", "largest"), [("cpu", 1), ("cuda", MAX_BATCH_SIZE)])
def test_every_batch_size_is_warmed_up(model: Held, device: str, largest: int) -> None:
    model.device = device
    model.go.set()
    assert ServedModel.prepare(model).model.warm
    assert model.batches == list(range(1, largest + 1))
