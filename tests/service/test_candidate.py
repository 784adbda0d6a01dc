"""A candidate answers in a process of its own."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.candidate import Candidate
from service.errors import SeeFoodError
from service.model import open_model
from tests.fixtures.load import until
from tests.fixtures.painting import RED
from tests.fixtures.server import serving
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry

NEW = replace(METADATA, version="new")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    models = write_tiny_registry(tmp_path / "models")
    write_tiny_model(models / "new" / "model.int8.onnx", NEW.to_properties())
    return models


@pytest.fixture
def candidate(models: Path) -> Iterator[Candidate]:
    candidate = Candidate(models, "new", "cpu", "int8")
    yield candidate
    candidate.close()


def _processes(pid: int) -> set[int]:
    """Return the descendants of a process that have the lowest priority."""
    found = set()
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.nice() == 19:
                found.add(child.pid)
    return found


def test_it_answers_as_the_model_does(models: Path, candidate: Candidate) -> None:
    model = open_model(models, "new", "cpu", "int8")
    assert (candidate.metadata, candidate.size) == (model.metadata, model.size)
    for level in (0, 128, 255):
        square = np.full((model.size, model.size, 3), level, np.uint8)
        ((probability, _, familiarity),) = model.run(square[None]).each()
        verdict, seconds = candidate.answer(square)
        assert verdict == model.verdict(probability, familiarity)
        assert seconds > 0


def test_a_version_that_is_not_there_is_one_sentence(models: Path) -> None:
    with pytest.raises(SeeFoodError, match=r"^There is no model file .*gone/model\.int8\.onnx; `seefood models` lists"):
        Candidate(models, "gone", "cpu", "int8")


def test_a_square_that_it_can_not_answer_is_one_sentence(candidate: Candidate) -> None:
    with pytest.raises(SeeFoodError) as caught:
        candidate.answer(np.zeros((3, 3, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_a_killed_process_is_one_sentence(candidate: Candidate) -> None:
    (pid,) = _processes(os.getpid())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SeeFoodError, match=r"^its process ended$"):
        candidate.answer(np.zeros((candidate.size, candidate.size, 3), np.uint8))


@pytest.mark.slow
def test_it_ends_with_the_service(models: Path) -> None:
    with serving(models, SEEFOOD_SHADOW="new") as server:
        until(lambda: len(_processes(server.process.pid)) == 1)
        first = _processes(server.process.pid)
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: not any(psutil.pid_exists(pid) for pid in first))
        until(lambda: len(_processes(server.process.pid)) == 1)
        second = _processes(server.process.pid)
        assert server.stop() == 0
        until(lambda: not any(psutil.pid_exists(pid) for pid in second))


@pytest.mark.slow
def test_the_service_answers_when_it_is_killed(models: Path) -> None:
    with serving(models, SEEFOOD_SHADOW="new", SEEFOOD_SHADOW_SHARE="1") as server:
        until(lambda: len(_processes(server.process.pid)) == 1)
        for pid in _processes(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        for _ in range(20):
            assert server.request("POST", "/v1/predict", RED, "image/png").status == 200
        until(lambda: "there is no shadow new: its process ended" in server.log())
