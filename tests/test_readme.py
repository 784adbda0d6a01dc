"""The documentation agrees with the code: commands run on a fresh clone, tables and links are complete."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import fields
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import click
import pytest
import torch
import torchvision
from flask.testing import FlaskClient

from benchmarks import summary
from service.cli import main
from service.settings import Settings
from tests.conftest import ROOT
from tests.fixtures.drawing import draw, draw_folder, encode
from tests.fixtures.server import free_port
from training.cli import learn_curve, retrain, train
from training.data.photos import MIN_PHOTOS_A_CLASS, VALIDATION_FRACTION

README, PORTUGUESE = "README.md", "README.pt-BR.md"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *(ROOT / folder / README for folder in ("models", "labels", "benchmarks")),
    )
}
IMAGE_SIZE = r"(\d+) MB"
FRONT_DOOR_ONLY = {
    "bad-request",
    "request-uri-too-long",
    "request-header-fields-too-large",
    "bad-gateway",
    "gateway-timeout",
}


def _blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of one language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in blocks if name == language]


def _commands(page: str, section: str) -> list[str]:
    """Return the lines of the shell blocks under a heading."""
    text = PAGES[page].split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [line for block in _blocks(text, "sh") for line in block.splitlines()]


def _environment(**more: str) -> dict[str, str]:
    """Return the environment of a new user: no variables of SeeFood or of the make that runs these tests."""
    ours = ("SEEFOOD_", "MAKE", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


def _clone(folder: Path) -> Path:
    """Copy the files that a clone has, with uncommitted changes."""
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
    """`make serve` installs an environment without torch; curl and predict get an answer; Ctrl-C stops everything."""
    clone = _clone(tmp_path / "seefood")
    (clone / "photo.jpg").write_bytes(encode(draw("hotdog", 1, (640, 480))))
    serve, curl = _commands(README, "Serve")
    predict = _commands("docs/bulk-scoring.md", "Start")[0]
    port = str(free_port())
    environment = _environment(PORT=port)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(serve.split(), cwd=clone, env=environment, stdout=log, stderr=log, process_group=0)
        try:
            _wait_until_ready(port, process)
            asked = subprocess.run(
                curl.replace("8000", port).split(), cwd=clone, capture_output=True, text=True, check=True
            )
            predicted = subprocess.run(
                predict.split(), cwd=clone, env=environment, capture_output=True, text=True, check=True
            )
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not list((clone / ".venv").glob("lib/*/site-packages/torch")), "the service needs no torch"
    shown = json.loads(_blocks(PAGES[README], "json")[0])
    answer = json.loads(asked.stdout)
    assert list(answer) == list(shown)
    (prediction,) = answer["predictions"]
    optional = {"unfamiliar"} - prediction.keys()  # of a model that can tell
    assert list(prediction) == [name for name in shown["predictions"][0] if name not in optional]
    assert answer["model"] == shown["model"]
    assert prediction["label"] in predicted.stdout


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
@pytest.mark.timeout(900)  # trains and exports a ResNet-18
def test_retraining(tmp_path: Path) -> None:
    """The environment of these tests is the one that `make train` would install, so it is used instead."""
    clone = _clone(tmp_path / "seefood")
    shutil.rmtree(clone / "models")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    draw_folder(clone / "photos", each=36)
    official = tmp_path / "torch" / "hub" / "checkpoints" / Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    official.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), official)  # where torchvision looks before it downloads
    environment = _environment(TORCH_HOME=str(tmp_path / "torch"))
    make_train, list_models, promote, serve = _commands(README, "Train")
    assert serve == "make serve"
    assert "--nproc-per-node 2 -m service.cli train" in PAGES["docs/training.md"], "the command that test_fit runs"
    command = [*make_train.replace("make ", "make -o .venv/.train ").split(), "ARGS=--epochs=1"]
    trained = subprocess.run(command, cwd=clone, env=environment, stderr=subprocess.PIPE, text=True, check=True)
    assert trained.stderr.count("int8 against float32: ") == 1, "each line is printed once, also during the export"
    listed = subprocess.run(list_models.split(), cwd=clone, env=environment, capture_output=True, text=True, check=True)
    version = (clone / "models" / "current").read_text().strip()
    assert f"* {version}" in listed.stdout
    promote = promote.replace("VERSION", version).replace("FOLDER", "photos")
    subprocess.run(promote.split(), cwd=clone, env=environment, check=True)


def test_both_readmes_have_the_same_commands_and_links() -> None:
    english, portuguese = PAGES[README], PAGES[PORTUGUESE]
    for language in ("sh", "json"):
        assert _blocks(english, language)
        assert _blocks(english, language) == _blocks(portuguese, language)
    (deploy,), (translated,) = (
        [[line.split("#")[0] for line in block.splitlines()] for block in _blocks(text, "")]
        for text in (english, portuguese)
    )
    assert len(deploy) == 3
    assert deploy == translated
    links, their_links = (re.findall(r"\]\(([^)]+)\)", text) for text in (english, portuguese))
    assert len(links) > 20
    assert sorted({*links} - {PORTUGUESE}) == sorted({*their_links} - {README})


def test_the_answer_is_shown_alike() -> None:
    assert _blocks(PAGES["docs/http-api.md"], "json") == _blocks(PAGES[README], "json")


def _measured() -> list[dict[str, Any]]:
    """Return the results of the benchmarks, and those of the included models."""
    return [json.loads((ROOT / "benchmarks" / name).read_text()) for name in ("results.json", "shipped.json")]


@pytest.mark.parametrize("name", summary.TEMPLATES)
def test_the_figures_are_those_of_the_benchmarks(name: str) -> None:
    start, end = summary.MARKS
    results, shipped = _measured()
    assert f"\n{start}\n{summary.line(results, shipped, name)}\n{end}\n" in PAGES[name]


def test_another_figure_changes_the_line() -> None:
    results, shipped = _measured()
    before = summary.line(results, shipped, README)
    accuracy = shipped["models"]["current"]["files"]["int8"]["folders"]["data/test"]["accuracy"]
    accuracy["value"] -= 0.1
    assert summary.line(results, shipped, README) != before
    accuracy["value"] += 0.1
    for turn in results["serving"]["contenders"]["SeeFood"]["turns"]:
        turn["12 MP"]["per_second"] += 10
    assert summary.line(results, shipped, README) != before


def test_the_image_has_one_size() -> None:
    measured = re.search(rf"^\| image, without its base \| {IMAGE_SIZE}", PAGES["docs/deployment.md"], re.MULTILINE)
    assert measured is not None
    for page, sentence in (
        (README, f"The Docker image adds {measured[1]} MB to its Python base image."),
        ("docs/deployment.md", f"The Docker image adds {measured[1]} MB to its Python base image."),
        (PORTUGUESE, f"A imagem Docker acrescenta {measured[1]} MB à imagem base do Python."),
    ):
        assert sentence in PAGES[page], page


def test_the_badges_are_true() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    badges = ROOT / "docs" / "images"
    assert f'"Python: {needed.removeprefix(">=")}+"' in (badges / "python.svg").read_text()
    assert '"licence: MIT"' in (badges / "licence.svg").read_text()
    assert "MIT License" in (ROOT / "LICENSE").read_text()


def _anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    links = 0
    for name, text in PAGES.items():
        for link in re.findall(r"""(?:\]\(|src=")([^)"\s]+)[)"]""", text):
            if "://" in link or link.startswith("mailto:"):
                continue
            links += 1
            path, _, anchor = link.partition("#")
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.exists(), f"{name}: {link}"
            if anchor:
                assert anchor in _anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"
    assert links > 50


def test_every_path_and_module_in_the_documentation_exists() -> None:
    """A path starts at the root, or beside the page; names in capitals are placeholders."""
    tops = "service|scoring|training|benchmarks|tests|deploy|models|labels|docs"
    paths = modules = 0
    for name, text in PAGES.items():
        for path in re.findall(rf"`((?:{tops})/(?!\.venv)[a-z0-9_./-]*|[a-z0-9_-]+\.py)`", text):
            paths += 1
            assert (ROOT / path).exists() or (ROOT / name).parent.joinpath(path).exists(), f"{name}: {path}"
        for module in re.findall(r"python -m ((?:benchmarks|service)[a-z_.]*)", text):
            modules += 1
            assert importlib.util.find_spec(module), f"{name}: {module}"
    assert paths > 20
    assert modules > 3


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; the extra docs has it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = [path for path in (ROOT / "docs").glob("*.md") if path.stem != "index"]
    assert len(pages) > 10
    for path in pages:
        assert (tmp_path / path.stem / "index.html").is_file()
    assert "not included in the" not in built.stderr, "a page that mkdocs.yml does not list"


def test_the_test_command_is_what_ci_runs() -> None:
    (command,) = _commands("docs/layout.md", "Test")
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command


def test_every_setting_is_documented_and_no_other() -> None:
    rows = [
        f"| `SEEFOOD_{setting.name.upper()}` | {f'`{setting.default}`' if setting.default != '' else ''} | "
        f"{setting.metadata['meaning']} |"
        for setting in fields(Settings)
    ]
    assert rows == [row for row in PAGES["docs/settings.md"].splitlines() if row.startswith("| `")]


def test_every_option_of_train_is_documented_and_no_other() -> None:
    options = {option for parameter in train.params for option in parameter.opts if option.startswith("--")}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)` \|", PAGES["docs/training.md"], re.MULTILINE))


@pytest.mark.parametrize(
    ("command", "section"), [(learn_curve, "Enough photos yet?"), (retrain, "Retrain when there are enough photos")]
)
def test_every_option_of_the_loop_is_documented_and_no_other(command: click.Command, section: str) -> None:
    part = PAGES["docs/the-loop.md"].split(f"\n## {section}\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(--[a-z-]+)`", "".join(re.findall(r"^\| (`--.*?) \|", part, re.MULTILINE))))
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    of_train = {option for parameter in train.params for option in parameter.opts} if command is retrain else set()
    assert documented == options - of_train


def test_commands_in_the_documentation_have_their_options() -> None:
    seen = 0
    for name, text in PAGES.items():
        if name in ("CHANGELOG.md",):
            continue
        for words in re.findall(r"(?:^|[`/ ])seefood ((?:[a-z]+ ?)+[^`\n|]*)", text, re.MULTILINE):
            command: click.Command = main
            used = iter(words.split())
            for word in used:
                found = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
                if found is None:
                    break
                command = found
            options = {option for parameter in command.params for option in parameter.opts}
            if command is main:
                continue
            for option in re.findall(r"(?<!\S)--[a-z-]+", words):
                seen += 1
                assert option in options, f"{name}: seefood {words}"
    assert seen > 10


def test_every_route_is_documented_and_no_other(client: FlaskClient) -> None:
    documented = set(
        re.findall(r"`(DELETE|GET|POST) (/[^`?]*)`", PAGES["docs/http-api.md"].split("\n## Send a photo")[0])
    )
    with client.get("/openapi.json") as answer:
        described = {
            (method.upper(), path) for path, methods in answer.get_json()["paths"].items() for method in methods
        }
    assert len(described) > 10
    assert documented == described | {("GET", "/"), ("GET", "/review"), ("GET", "/openapi.json"), ("GET", "/docs")}


def test_the_figures_about_training_are_those_of_the_code() -> None:
    page = PAGES["docs/training.md"]
    assert f"at least {MIN_PHOTOS_A_CLASS} photos in each" in page
    assert f"holds back {VALIDATION_FRACTION:.0%} of each class" in page
    assert f"at least {MIN_PHOTOS_A_CLASS} photos of each class" in PAGES[README]
    assert f"pelo menos {MIN_PHOTOS_A_CLASS} fotos de cada classe" in PAGES[PORTUGUESE]


def test_every_problem_is_documented_and_no_other() -> None:
    source = "".join(path.read_text() for path in (ROOT / "service").glob("*.py"))
    raised = set(re.findall(r'\(\s*(\d{3}), "([a-z-]+)"', source))
    assert len(raised) > 15
    phrases = {(str(status.value), status.phrase.lower().replace(" ", "-")) for status in HTTPStatus}
    rows = re.findall(r"^\| (\d{3}) \| ((?:`[a-z-]+`(?:, )?)+) \|", PAGES["docs/http-api.md"], re.MULTILINE)
    documented = {(status, slug) for status, slugs in rows for slug in re.findall(r"`([a-z-]+)`", slugs)}
    assert raised <= documented
    others = documented - raised
    assert {slug for _, slug in others} >= FRONT_DOOR_ONLY
    assert {(status, slug) for status, slug in others if slug not in FRONT_DOOR_ONLY} <= phrases


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
        "seccompy",
        "werkzeug",
    }


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(n for extra in project["optional-dependencies"].values() for n in extra)]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {re.split(r"[^a-z0-9-]", name)[0] for name in wanted} - {"seefood"} <= pinned
