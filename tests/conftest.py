"""Fixtures that several test files use."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.model import Model
from service.settings import Settings
from tests.fixtures.drawing import draw_folder
from tests.fixtures.server import Server, serving
from tests.fixtures.shared import make_once
from tests.fixtures.tiny_model import write_tiny_registry

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
MakeApp = Callable[..., Flask]
MakeClient = Callable[..., FlaskClient]

# Files that take minutes, the longest first. They start before all others, so that the processes of pytest-xdist end at
# about the same time.
LONGEST = [
    "tests/training/model/test_backbones.py",
    "tests/service/test_page_model.py",
    "tests/training/test_train.py",
    "tests/training/test_bad_input.py",
    "tests/service/test_api_docs.py",
    "tests/test_shipped_model.py",
    "tests/training/test_second_task.py",
    "tests/training/model/test_fit.py",
    "tests/service/test_inbox_faults.py",
    "tests/service/test_faults.py",
    "tests/service/test_hostile.py",
    "tests/test_readme.py",
    "tests/deploy/test_nginx.py",
    "tests/service/test_page.py",
    "tests/service/test_review_page.py",
    "tests/scoring/test_bulk.py",
    "tests/training/test_retrain.py",
    "tests/training/report/test_html_report.py",
    "tests/training/registry/test_crash.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files; the order of the tests in a file stays."""
    first = {ROOT / name: number for number, name in enumerate(LONGEST)}
    for path in first:
        if not path.is_file():
            raise pytest.UsageError(f"LONGEST in tests/conftest.py names {path}, which does not exist.")
    items.sort(key=lambda item: first.get(item.path, len(first)))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry with a hand-made model: red is positive, blue is negative."""
    return write_tiny_registry(tmp_path_factory.mktemp("registry") / "models")


@pytest.fixture(scope="session")
def client(tiny_models: Path) -> Iterator[FlaskClient]:
    """Return a test client of the Flask application, with small limits."""
    app = create_app(Settings(models=tiny_models, max_bytes=200_000, max_pixels=1_000_000, max_images=3))
    yield app.test_client()
    app.extensions["decoders"].close()


@pytest.fixture
def make_app() -> Iterator[MakeApp]:
    """Return a function that creates applications; their decoders end with the test."""
    with ExitStack() as stack:

        def make(settings: Settings, model: Model | None = None) -> Flask:
            app = create_app(settings, model)
            stack.callback(app.extensions["decoders"].close)
            return app

        yield make


@pytest.fixture
def make_client(client: FlaskClient, make_app: MakeApp) -> MakeClient:
    """Return a function that creates clients of applications with changed settings and the same model."""
    extensions = client.application.extensions
    model = extensions["model_manager"].current.model
    return lambda **changes: make_app(replace(extensions["settings"], **changes), model).test_client()


@pytest.fixture(scope="module")
def tiny_server(tiny_models: Path) -> Iterator[Server]:
    """Return a running service with the hand-made model."""
    with serving(tiny_models) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Return the installed Chromium."""
    from tests.fixtures.browser import open_browser  # not every environment of the tests has Playwright

    with open_browser() as running:
        yield running


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a training folder with 64 drawn pictures per class."""
    return make_once(tmp_path_factory, "drawn", lambda folder: draw_folder(folder / "photos", each=64)) / "photos"


@pytest.fixture(scope="session")
def trained_models(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry with one version, trained for one epoch without pretrained weights by the command line."""

    def train(folder: Path) -> None:
        test = draw_folder(folder / "data" / "test", each=20, first=1000)
        command = [sys.executable, "-m", "service.cli", "train", str(drawn), "--weights", "none", "--epochs", "1"]
        subprocess.run([*command, "--test", str(test), "--models", str(folder / "models")], check=True, cwd=ROOT)

    return make_once(tmp_path_factory, "trained", train) / "models"


@pytest.fixture(scope="session")
def server(trained_models: Path) -> Iterator[Server]:
    """Return a running service with the trained model."""
    with serving(trained_models) as running:
        yield running


@pytest.fixture(scope="session")
def photos() -> Path:
    """Return the folder of real photos; skip if there is none."""
    folder = Path(os.environ.get("SEEFOOD_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}; set SEEFOOD_TEST_DATA to a folder")
    return folder
