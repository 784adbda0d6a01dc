"""Each caller gets the prediction of its own photo, whatever the batch."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.batcher import Batcher
from service.model import Model, Outputs
from service.photo import Pixels
from tests.fixtures.tiny_model import SIZE, write_tiny_model


class Held(Model):
    """A model that records its batch sizes, and can be paused during a batch."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.busy = threading.Event()
        self.fails = False

    def run(self, pixels: Pixels) -> Outputs:
        self.batches.append(len(pixels))
        self.busy.set()
        assert self.go.wait(10)
        if self.fails:
            raise RuntimeError("no more memory")
        return super().run(pixels)


@pytest.fixture
def model(tmp_path: Path) -> Held:
    return Held(write_tiny_model(tmp_path / "model.onnx"))


@contextmanager
def _batching(model: Model, largest: int = 4) -> Iterator[Batcher]:
    batcher = Batcher(model, largest)
    try:
        yield batcher
    finally:
        batcher.close()


def _grey_red(level: int) -> Pixels:
    """Return a square whose probability depends on its level, from 0 to 60."""
    photo = np.full((SIZE, SIZE, 3), 100, np.uint8)
    photo[..., 0] += level
    return photo


def _expected(level: int) -> float:
    return float(1 / (1 + np.exp(-level / 16)))


def test_an_idle_model_runs_a_photo_immediately(model: Held) -> None:
    with _batching(model) as batcher:
        for level in (0, 20, 40):
            answer = batcher.submit(_grey_red(level)).result(5)
            assert answer.probability == pytest.approx(_expected(level), abs=1e-5)
            assert answer.heatmap.shape == (2, 2)
            assert answer.familiarity == -100
            assert (answer.batch_size, answer.queue_seconds >= 0, answer.inference_seconds > 0) == (1, True, True)
    assert model.batches == [1, 1, 1]


def test_photos_that_wait_form_a_batch(model: Held) -> None:
    model.go.clear()
    with _batching(model) as batcher:
        futures = [batcher.submit(_grey_red(0))]
        assert model.busy.wait(5)
        futures += [batcher.submit(_grey_red(level)) for level in range(1, 7)]
        model.go.set()
        answers = [future.result(5) for future in futures]
    assert model.batches == [1, 4, 2]
    assert [answer.probability for answer in answers] == pytest.approx([_expected(n) for n in range(7)], abs=1e-5)
    assert [answer.batch_size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]


def test_a_cancelled_photo_costs_no_inference(model: Held) -> None:
    model.go.clear()
    with _batching(model) as batcher:
        first = batcher.submit(_grey_red(0))
        assert model.busy.wait(5)
        given_up, kept = batcher.submit(_grey_red(1)), batcher.submit(_grey_red(2))
        assert given_up.cancel()
        assert not first.cancel()
        model.go.set()
        assert kept.result(5).batch_size == 1
        with pytest.raises(CancelledError):
            given_up.result(5)
    assert model.batches == [1, 1]


def test_an_error_reaches_only_its_batch(model: Held) -> None:
    with _batching(model) as batcher:
        model.fails = True
        failed = batcher.submit(_grey_red(1))
        with pytest.raises(RuntimeError, match="no more memory"):
            failed.result(5)
        model.fails = False
        well = batcher.submit(_grey_red(1))
        assert well.result(5).probability == pytest.approx(_expected(1), abs=1e-5)


def test_close_runs_the_waiting_photos(model: Held) -> None:
    model.go.clear()
    batcher = Batcher(model, 4)
    futures = [batcher.submit(_grey_red(level)) for level in range(6)]
    threading.Timer(0.05, model.go.set).start()
    batcher.close()
    assert all(future.done() for future in futures)


@pytest.mark.parametrize("seed", range(5))
def test_concurrent_callers_get_their_own_predictions(model: Held, seed: int) -> None:
    """Threads submit, cancel and wait in random order; each gets its own prediction, and no wait blocks forever."""
    random = np.random.default_rng(seed)
    plans = [[(int(random.integers(61)), bool(random.random() < 0.2)) for _ in range(40)] for _ in range(8)]

    def ask(plan: list[tuple[int, bool]], batcher: Batcher) -> list[Any]:
        wrong: list[Any] = []
        futures = [batcher.submit(_grey_red(level)) for level, _ in plan]
        cancelled = [given_up and future.cancel() for (_, given_up), future in zip(plan, futures, strict=True)]
        for (level, _), future, gone in zip(plan, futures, cancelled, strict=True):
            if gone:
                continue
            answer = future.result(20)
            if abs(answer.probability - _expected(level)) > 1e-5:
                wrong.append((level, answer))
        return wrong

    with _batching(model, largest=int(random.integers(1, 9))) as batcher, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda plan: ask(plan, batcher), plans))
    assert results == [[]] * 8
