"""A process that is killed at any step leaves a registry that can be served."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.model import open_model
from service.registry import current_version
from tests.conftest import ROOT
from tests.fixtures.command import seefood
from tests.fixtures.tiny_model import write_tiny_model
from tests.fixtures.versions import FIGURES, add_version
from training.registry.store import HISTORY, METRICS, new_version, promote, rollback, versions

# The script kills itself at an access to the registry or in the middle of a text; the first argument is the number of
# such steps before it does.
KILL = """
import os, signal, sys
from pathlib import Path
from training.registry import store

left, models, action = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def step():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def watch(event, arguments):
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.copyfile"):
        if str(arguments[0]).startswith(str(models)):
            step()

def torn(path, text, encoding):
    with path.open("w", encoding=encoding) as file:
        file.write(text[: len(text) // 2])
        file.flush()
        step()
        file.write(text[len(text) // 2 :])

Path.write_text = torn
sys.addaudithook(watch)
if action == "promote":
    store.promote(models, "2", "better")
elif action == "phone":
    store.promote(models, "2", "smaller", "phone")
elif action == "rollback":
    store.rollback(models)
else:
    with store.new_version(models, "3") as draft:
        for name in ("model.onnx", "model.int8.onnx", "metrics.json"):
            (draft / name).write_bytes((models / "1" / name).read_bytes())
print(left)
"""
PLENTY = 1000


def _registry(models: Path, action: str) -> Path:
    models.mkdir()
    for name in ("1", "2"):
        with new_version(models, name) as draft:
            for file in ("model.onnx", "model.int8.onnx"):
                write_tiny_model(draft / file)
            (draft / METRICS).write_text(FIGURES)
    if action == "rollback":
        promote(models, "2", "better")
    return models


def _kill_at(step: int, models: Path, action: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILL, str(step), str(models), action]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return the number of steps at which each action can be killed."""
    counted = {}
    for action in ("promote", "phone", "rollback", "add"):
        whole = _kill_at(PLENTY, _registry(tmp_path_factory.mktemp(action) / "models", action), action)
        assert whole.returncode == 0, whole.stderr
        counted[action] = PLENTY - int(whole.stdout)
    assert min(counted.values()) >= 9
    return counted


@pytest.mark.slow
@pytest.mark.parametrize("action", ["promote", "rollback", "add"])
def test_a_killed_process_leaves_a_registry_that_serves(action: str, steps: dict[str, int], tmp_path: Path) -> None:
    seen = set()
    for step in range(steps[action]):
        models = _registry(tmp_path / f"{step}", action)
        assert _kill_at(step, models, action).returncode == -signal.SIGKILL
        current = current_version(models)
        seen.add(current)
        assert current in ("1", "2")
        assert open_model(models).metadata.version, "the current version can be served"
        listed = seefood(models, "models", "list")
        assert listed.exit_code == 0, listed.stderr
        assert all((models / version.name / "model.onnx").is_file() for version in versions(models))
        assert all(json.loads(line) for line in (models / HISTORY).read_text().splitlines())
        _use_registry(models, current)
    assert seen == ({"1"} if action == "add" else {"1", "2"})


@pytest.mark.slow
def test_a_killed_promotion_of_the_other_pointer_leaves_this_one(steps: dict[str, int], tmp_path: Path) -> None:
    seen = set()
    for step in range(steps["phone"]):
        models = _registry(tmp_path / f"{step}", "phone")
        assert _kill_at(step, models, "phone").returncode == -signal.SIGKILL
        phone = [version.name for version in versions(models) if "phone" in version.pointers]
        seen.add(tuple(phone))
        assert phone in ([], ["2"])
        _use_registry(models, "1")
        promote(models, "1", "smaller still", "phone")
        if phone:
            assert rollback(models, "phone") == "2"
    assert seen == {(), ("2",)}


@pytest.mark.slow
def test_a_killed_process_leaves_an_empty_registry_that_can_be_filled(tmp_path: Path) -> None:
    kill = KILL.replace('(models / "1" / name).read_bytes()', 'b"{}"')
    for step in range(60):
        models = tmp_path / f"{step}"
        models.mkdir()
        died = subprocess.run([sys.executable, "-c", kill, str(step), str(models), "add"], cwd=ROOT, check=False)
        if died.returncode == 0:
            break
        assert died.returncode == -signal.SIGKILL
        add_version(models, "4")
        assert current_version(models) in ("3", "4")
        assert (models / current_version(models)).is_dir()
    assert 10 < step < 59, "the process was killed at every step except the last"


def _use_registry(models: Path, current: str) -> None:
    """Roll back, add, promote and roll back after a crash."""
    if current == "2":
        assert rollback(models) == "1"
        current = "1"
    add_version(models, "4")
    promote(models, "4", "better")
    assert rollback(models) == current
