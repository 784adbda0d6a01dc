"""What the README says is so: its commands run on a fresh clone, its tables are those of the code."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
from dataclasses import fields
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch
import torchvision

from service.settings import Settings
from tests.conftest import ROOT
from tests.fixtures.drawing import draw, draw_folder, encode
from tests.fixtures.server import free_port
from training.cli import train
from training.data.folders import MIN_PHOTOS_A_CLASS, VALIDATION_FRACTION

README = (ROOT / "README.md").read_text(encoding="utf-8")


def _commands(section: str) -> list[str]:
    """Return the lines of the shell blocks under a heading."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def _environment(**more: str) -> dict[str, str]:
    """Return a stranger's environment: no settings of ours, and nothing of the make that runs these tests."""
    ours = ("SEEFOOD_", "MAKE", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


def _clone(folder: Path) -> Path:
    """Copy what git would hand to a stranger, uncommitted changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.slow
def test_serving_on_a_fresh_clone(tmp_path: Path) -> None:
    """`make serve` makes its own environment, without torch; curl and predict get an answer; Ctrl-C ends it all."""
    clone = _clone(tmp_path / "seefood")
    (clone / "photo.jpg").write_bytes(encode(draw("hotdog", 1, (640, 480))))
    serve, curl, predict = _commands("Serve")
    port = str(free_port())
    environment = _environment(PORT=port)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(serve.split(), cwd=clone, env=environment, stdout=log, stderr=log, process_group=0)
        try:
            _wait_until_ready(port, process)
            asked = subprocess.run(
                curl.replace("8000", port).split(), cwd=clone, capture_output=True, text=True, check=True
            )
            told = subprocess.run(
                predict.split(), cwd=clone, env=environment, capture_output=True, text=True, check=True
            )
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not list((clone / ".venv").glob("lib/*/site-packages/torch")), "the service needs no torch"
    shown = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])
    answer = json.loads(asked.stdout)
    assert list(answer) == list(shown)
    (prediction,) = answer["predictions"]
    optional = {"unfamiliar"} - prediction.keys()  # of a model that can tell
    assert list(prediction) == [name for name in shown["predictions"][0] if name not in optional]
    assert answer["model"] == shown["model"]
    assert prediction["label"] in told.stdout


def _wait_until_ready(port: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, "make serve ended"
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                assert answer.status == 200
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail("make serve was not ready in time")


@pytest.mark.slow
def test_retraining(tmp_path: Path) -> None:
    """The environment of these tests stands in for the one that `make train` would install, which is the same."""
    clone = _clone(tmp_path / "seefood")
    shutil.rmtree(clone / "models")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    draw_folder(clone / "photos", each=36)
    official = tmp_path / "torch" / "hub" / "checkpoints" / Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    official.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), official)  # where torchvision looks before it downloads
    environment = _environment(TORCH_HOME=str(tmp_path / "torch"))
    make_train, list_models, together = _commands("Retrain with your own folders")
    assert "--nproc-per-node 2 -m service.cli train" in together, "which test_fit runs"
    subprocess.run(make_train.replace("make ", "make -o .venv/.train ").split(), cwd=clone, env=environment, check=True)
    listed = subprocess.run(list_models.split(), cwd=clone, env=environment, capture_output=True, text=True, check=True)
    assert f"* {(clone / 'models' / 'current').read_text().strip()}" in listed.stdout


def test_the_test_command_is_what_ci_runs() -> None:
    (command,) = _commands("Test")
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command


def test_every_setting_is_documented() -> None:
    rows = [
        f"| `SEEFOOD_{setting.name.upper()}` | {f'`{setting.default}`' if setting.default != '' else ''} | "
        f"{setting.metadata['meaning']} |"
        for setting in fields(Settings)
    ]
    assert "\n".join(rows) in README


def test_every_option_of_train_is_documented() -> None:
    options = {option for parameter in train.params for option in parameter.opts if option.startswith("--")}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)` \|", README, re.MULTILINE))


def test_the_figures_about_training_are_those_of_the_code() -> None:
    assert f"at least {MIN_PHOTOS_A_CLASS} photos in each" in README
    assert f"holds back {VALIDATION_FRACTION:.0%} of each class" in README


def test_every_problem_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "service").glob("*.py"))
    slugs = set(re.findall(r'Problem\(\s*\d+, "([a-z-]+)"', source))
    slugs |= set(re.findall(r'\(\d+, "([a-z-]+)"', source))
    for slug in slugs - {"internal-server-error"}:
        assert f"`{slug}`" in README, slug


def test_make_alone_lists_every_target() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=True).stdout  # noqa: S607
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert [line.split()[1] for line in listed.splitlines()] == targets[1].split()
    assert all(len(line.split()) > 3 for line in listed.splitlines()), "each has a description"


def test_the_service_depends_on_nothing_of_training() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split(r"[^a-z-]", name)[0] for name in project["dependencies"]}
    assert base == {
        "click",
        "filelock",
        "filetype",
        "flask",
        "flask-swagger-ui",
        "gunicorn",
        "loky",
        "numpy",
        "onnxruntime",
        "pi-heif",
        "pillow",
        "prometheus-client",
        "psutil",
        "python-json-logger",
        "werkzeug",
    }


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(n for extra in project["optional-dependencies"].values() for n in extra)]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {re.split(r"[^a-z0-9-]", name)[0] for name in wanted} - {"seefood"} <= pinned
