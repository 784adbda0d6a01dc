"""The version that the registry names is served; if that fails, the old one stays, and one log line says why."""

import json
import logging
import shutil
import threading
import time
from pathlib import Path

import pytest

from service import model_manager
from service.errors import SeeFoodError
from service.metrics import registry
from service.model_manager import STARTUP_VERSION, ModelManager
from service.settings import Settings
from tests.fixtures.tiny_model import write_tiny_registry, write_tiny_version


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry with the versions `tiny`, which is current, and `new`."""
    models = write_tiny_registry(tmp_path / "models")
    write_tiny_version(models, "new")
    return models


def _break(models: Path, version: str) -> None:
    (models / version / "model.int8.onnx").write_bytes(b"no model")


def _point(models: Path, version: str, pointer: str = "current") -> None:
    (models / pointer).write_text(f"{version}\n")


def _version(manager: ModelManager) -> str:
    return manager.current.model.metadata.version


def _refused() -> float:
    return registry.get_sample_value("seefood_model_refused_total") or 0


def _told() -> set[str]:
    """Return the served versions in the metrics."""
    (info,) = [one for one in registry.collect() if one.name == "seefood_model_info"]
    return {sample.labels["version"] for sample in info.samples if sample.value == 1}


@pytest.mark.parametrize("pointer", ["current", "phone"])
def test_a_promoted_version_is_served(models: Path, pointer: str) -> None:
    _point(models, "tiny", pointer)
    manager = ModelManager(Settings(models=models, model="" if pointer == "current" else pointer))
    before = manager.current
    manager.refresh()
    assert manager.current is before, "an unchanged pointer opens nothing"
    _point(models, "new", pointer)
    manager.refresh()
    assert (_version(manager), manager.current.model.warm) == ("new", True)
    assert before.model.metadata.version == "tiny", "a request that has started with it keeps it"
    assert "new" in _told()
    assert "tiny" not in _told()
    _point(models, "tiny", pointer)
    manager.refresh()
    assert _version(manager) == "tiny"


def test_a_renamed_folder_is_opened_once(models: Path) -> None:
    (models / "new").rename(models / "best")
    manager = ModelManager(Settings(models=models))
    _point(models, "best")
    manager.refresh()
    assert _version(manager) == "new"
    for each in (manager, ModelManager(Settings(models=models))):
        before = each.current
        each.refresh()
        assert each.current is before


@pytest.mark.parametrize("text", ["", "phone", "current", "shadow", "tiny/../new", "/tiny", "."])
def test_a_pointer_must_contain_the_name_of_a_version(
    models: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    manager = ModelManager(Settings(models=models))
    _point(models, "new", "phone")
    _point(models, text)
    for _ in range(2):
        manager.refresh()
    assert _version(manager) == "tiny"
    (line,) = caplog.messages
    sentence = f"{models / 'current'} does not contain the name of a version; make one with seefood train"
    assert line.startswith(f"still serving tiny: {sentence}")
    with pytest.raises(SeeFoodError, match="does not contain the name of a version"):
        ModelManager(Settings(models=models))


@pytest.mark.parametrize("wrong", ["corrupt", "absent", "no pointer", "no text"])
def test_an_unusable_version_is_rejected_and_logged_once(
    models: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    manager, before = ModelManager(Settings(models=models)), _refused()
    now = manager.current
    if wrong == "corrupt":
        _break(models, "new")
    if wrong == "absent":
        shutil.rmtree(models / "new")
    if wrong == "no pointer":
        (models / "current").unlink()
    elif wrong == "no text":
        (models / "current").write_bytes(b"\xff\xfe")
    else:
        _point(models, "new")
    for _ in range(3):
        manager.refresh()
    assert manager.current is now
    assert "tiny" in _told()
    (line,) = caplog.records
    assert (line.levelno, _refused() - before) == (logging.ERROR, 1)
    assert line.getMessage().startswith("still serving tiny: ")


def test_a_rejected_version_is_logged_again_after_another_promotion(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager, before = ModelManager(Settings(models=models)), _refused()
    _break(models, "new")
    for version in ("new", "tiny", "new"):
        _point(models, version)
        manager.refresh()
    assert (len(caplog.records), _refused() - before, _version(manager)) == (2, 2, "tiny")
    _point(models, "tiny")
    manager.refresh()
    write_tiny_version(models, "new")
    _point(models, "new")
    manager.refresh()
    assert _version(manager) == "new", "the version was repaired"


def test_a_version_whose_files_arrive_later_is_served(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, before = ModelManager(Settings(models=models)), _refused()
    _break(models, "new")
    _point(models, "new")
    manager.refresh()
    write_tiny_version(models, "new")
    manager.refresh()
    assert _version(manager) == "tiny", "it is not opened at every poll"
    later = time.monotonic() + model_manager.RETRY_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    manager.refresh()
    assert (_version(manager), _refused() - before) == ("new", 1)


def test_a_fixed_version_or_file_is_not_watched(models: Path) -> None:
    threads = set(threading.enumerate())
    for model in ("new", str(models / "new" / "model.onnx")):
        manager = ModelManager(Settings(models=models, model=model))
        manager.watch()
        assert _version(manager) == "new"
    assert set(threading.enumerate()) == threads


def _remember(models: Path, *promotions: tuple[str, str, str]) -> None:
    lines = [
        json.dumps({"pointer": pointer, "before": before, "version": name}) for pointer, before, name in promotions
    ]
    (models / "history.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("pointer", ["current", "phone"])
def test_startup_falls_back_to_the_previous_version(
    models: Path, caplog: pytest.LogCaptureFixture, pointer: str
) -> None:
    write_tiny_version(models, "other")
    other = "phone" if pointer == "current" else "current"
    _remember(models, (pointer, "", "other"), (pointer, "other", "tiny"), (pointer, "tiny", "new"), (other, "x", "y"))
    _break(models, "new")
    _point(models, "new", pointer)
    before = _refused()
    manager = ModelManager(Settings(models=models, model="" if pointer == "current" else pointer))
    manager.refresh()
    manager.refresh()
    assert (_version(manager), _refused() - before) == ("tiny", 1)
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage().startswith("still serving tiny: ")
    assert "new/model.int8.onnx" in line.getMessage()


def test_a_history_without_pointers_is_read(models: Path) -> None:
    (models / "history.jsonl").write_text('{"version": "tiny"}\n{"version": "new", "before": "tiny"}\n')
    _break(models, "new")
    _point(models, "new")
    assert _version(ModelManager(Settings(models=models))) == "tiny"


@pytest.mark.parametrize("history", [None, "", "no JSON\n", "[]\n", '{"version": "new"}\n'])
def test_startup_falls_back_to_the_version_of_the_command(
    models: Path, monkeypatch: pytest.MonkeyPatch, history: str | None
) -> None:
    """When a killed process is replaced, the pointer may name another version than at the start."""
    if history is not None:
        (models / "history.jsonl").write_text(history)
    monkeypatch.setenv(STARTUP_VERSION, "tiny")
    (models / "current").unlink()
    assert _version(ModelManager(Settings(models=models))) == "tiny"
    _break(models, "new")
    _point(models, "new")
    assert _version(ModelManager(Settings(models=models))) == "tiny"


def test_startup_without_a_fallback_raises_the_first_error(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _remember(models, ("current", "gone", "new"))
    monkeypatch.delenv(STARTUP_VERSION, raising=False)
    _break(models, "new")
    _point(models, "new")
    with pytest.raises(SeeFoodError, match=r"new/model\.int8\.onnx"):
        ModelManager(Settings(models=models))


def test_a_fixed_version_has_no_fallback(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _remember(models, ("current", "tiny", "new"))
    monkeypatch.setenv(STARTUP_VERSION, "tiny")
    _break(models, "new")
    with pytest.raises(SeeFoodError, match=r"new/model\.int8\.onnx"):
        ModelManager(Settings(models=models, model="new"))
