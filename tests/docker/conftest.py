"""The Docker engine, the images built from this folder, and the figures that the tests measured, printed at the end."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.registry import FILES
from tests.conftest import ROOT
from tests.fixtures.drawing import draw, encode
from tests.fixtures.tiny_model import METADATA, write_tiny_model

IMAGE = "seefood:test"
FRONT_IMAGE = "seefood-front:test"
_figures: list[str] = []

Note = Callable[[str], None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that the tests measured."""
    if _figures:
        terminalreporter.section("figures")
        for line in _figures:
            terminalreporter.write_line(line)


def docker(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """Run a docker command and return its output, stdout and stderr together."""
    ran = subprocess.run(
        ["docker", *arguments],  # noqa: S607
        input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert not check or ran.returncode == 0, f"docker {' '.join(arguments)}\n{ran.stdout[-2000:]}"
    return ran.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """Return what `docker inspect` says about an image, a container or a service."""
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return found


@pytest.fixture(scope="session")
def note() -> Note:
    """Return a function that adds a line to the summary."""
    return _figures.append


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip if no Docker engine answers."""
    if not shutil.which("docker"):
        pytest.skip("there is no docker command")
    if "Server Version" not in docker("info", check=False):
        pytest.skip("no Docker engine answers; start one with: dockerd &")


@pytest.fixture(scope="session")
def image(engine: None) -> str:  # noqa: ARG001
    """Return the name of the image, built by the documented command."""
    docker("build", "--network", "host", "--tag", IMAGE, str(ROOT))
    return IMAGE


@pytest.fixture(scope="session")
def front_image(image: str) -> str:  # noqa: ARG001
    """Return the name of the image of the front door. If its base cannot be pulled, Debian's nginx replaces it."""
    folder = ROOT / "deploy" / "nginx"
    base = default_of(folder / "Dockerfile", "NGINX_IMAGE")
    if "Error" in docker("image", "inspect", base, check=False) and "rror" in docker("pull", base, check=False):
        base = "seefood-nginx:test"
        python = default_of(ROOT / "Dockerfile", "PYTHON_IMAGE")  # a Debian image that is present
        packages = "apt-get update && apt-get install --yes --no-install-recommends nginx-light gettext-base curl"
        docker("build", "--network", "host", "--tag", base, "-", stdin=f"FROM {python}\nRUN {packages}\n")
    docker("build", "--build-arg", f"NGINX_IMAGE={base}", "--tag", FRONT_IMAGE, str(folder))
    return FRONT_IMAGE


def default_of(dockerfile: Path, argument: str) -> str:
    """Return the default of a build argument."""
    (line,) = [line for line in dockerfile.read_text().splitlines() if line.startswith(f"ARG {argument}=")]
    return line.partition("=")[2]


@pytest.fixture(scope="session")
def photos_to_send() -> list[bytes]:
    """Return 20 photos: real ones if there are any, else drawn ones."""
    folder = Path(os.environ.get("SEEFOOD_TEST_DATA", ROOT.parent / "shared" / "data")) / "test"
    real = [path for label in ("hotdog", "not_hotdog") for path in sorted((folder / label).glob("*.jpg"))[:10]]
    return [path.read_bytes() for path in real] or [encode(draw("hotdog", seed, (640, 480))) for seed in range(20)]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a registry: the current model of this folder, and a version `new` that is not promoted."""
    return write_registry(tmp_path / "models")


def write_registry(models: Path) -> Path:
    """Write a registry that every user can read: the current model of this folder, and a version `new`."""
    current = (ROOT / "models" / "current").read_text().strip()
    (models / current).mkdir(parents=True)
    shutil.copy(ROOT / "models" / current / FILES["int8"], models / current)
    write_tiny_model(models / "new" / FILES["int8"], METADATA.to_properties() | {"version": "new"})
    (models / "current").write_text(f"{current}\n")
    for path in (models, *models.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return models
