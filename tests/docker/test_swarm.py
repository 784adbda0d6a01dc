"""The compose file as a stack on a real swarm of one node: rolled, rolled back and scaled while clients ask."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.registry import FILES
from tests.conftest import ROOT
from tests.docker.conftest import Note, docker, inspect
from tests.fixtures.load import asking, until
from tests.fixtures.server import free_port
from tests.fixtures.tiny_model import METADATA, write_tiny_model

pytestmark = pytest.mark.docker

STACK = "seefoodtest"
SERVICE = f"{STACK}_seefood"


@pytest.fixture(scope="module")
def swarm(engine: None) -> Iterator[None]:  # noqa: ARG001
    """Make the engine a swarm of its own where it is none, and leave it as it was."""
    before = docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    if before == "inactive":
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    yield
    if before == "inactive":
        docker("swarm", "leave", "--force")


@pytest.fixture(scope="module")
def images(image: str, registry_of_the_new: Path) -> dict[str, str]:
    """Return the images that a roll is to: a good one with another model, and one that never gets ready."""
    docker("build", "--tag", "seefood:test-new", str(registry_of_the_new))
    docker("build", "--tag", "seefood:test-broken", "-", stdin=f"FROM {image}\nENV SEEFOOD_MODEL=lost\n")
    return {"new": "seefood:test-new", "broken": "seefood:test-broken"}


@pytest.fixture(scope="module")
def registry_of_the_new(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what an image with another current model is built from."""
    folder = tmp_path_factory.mktemp("new")
    write_tiny_model(folder / "models" / "new" / FILES["int8"], METADATA.to_properties() | {"version": "new"})
    (folder / "models" / "current").write_text("new\n")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY models /models\n")
    return folder


@pytest.fixture(scope="module")
def port(swarm: None, image: str) -> Iterator[int]:  # noqa: ARG001
    """Deploy the stack, wait until both replicas are healthy, and return its port."""
    free = free_port()
    environment = os.environ | {"SEEFOOD_IMAGE": image, "SEEFOOD_PUBLISH": str(free)}
    command = ["docker", "stack", "deploy", "--resolve-image", "never", "--compose-file", "docker-compose.yml", STACK]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)
    try:
        until(lambda: _running() == 2, 120)
        yield free
    finally:
        docker("stack", "rm", STACK)
        until(lambda: not docker("ps", "--quiet", "--filter", f"label=com.docker.stack.namespace={STACK}"), 90)
        until(lambda: not docker("network", "ls", "--quiet", "--filter", f"name={STACK}"), 60)
        time.sleep(1)
        docker("volume", "rm", "--force", f"{STACK}_feedback", check=False)


def test_a_roll_to_a_new_version_costs_no_request(
    port: int, images: dict[str, str], photos_to_send: list[bytes], note: Note
) -> None:
    with asking(port, photos_to_send[0]) as load:
        time.sleep(2)
        started = time.monotonic()
        _update("--image", images["new"])
        took = time.monotonic() - started
        time.sleep(2)
    assert _state() == "completed"
    assert (load.failures, set(load.statuses)) == ([], {200})
    assert len(load.versions) == 2
    note(f"swarm, 2 replicas rolled to a new version in {took:.0f} s: {load}")


def test_a_roll_to_a_broken_version_rolls_back(
    port: int, images: dict[str, str], photos_to_send: list[bytes], note: Note
) -> None:
    before = inspect(SERVICE)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    with asking(port, photos_to_send[0]) as load:
        time.sleep(2)
        started = time.monotonic()
        _update("--image", images["broken"])
        until(lambda: _state() == "rollback_completed", 120)
        took = time.monotonic() - started
        time.sleep(2)
    assert inspect(SERVICE)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == before
    assert (load.failures, set(load.statuses)) == ([], {200})
    note(f"swarm, rolled back from a version that never gets ready in {took:.0f} s: {load}")


def test_it_scales_while_clients_ask(port: int, photos_to_send: list[bytes], note: Note) -> None:
    with asking(port, photos_to_send[0]) as load:
        for replicas in (4, 1, 2):
            docker("service", "scale", "--detach", f"{SERVICE}={replicas}")
            until(lambda: _running() == replicas, 120)  # noqa: B023 - called at once
            time.sleep(3)
    assert (load.failures, set(load.statuses)) == ([], {200})
    note(f"swarm, scaled from 2 to 4, 1 and 2: {load}")


def _update(*change: str) -> None:
    """Change the service, and wait until the swarm is done, one way or the other."""
    docker("service", "update", "--detach", "--no-resolve-image", *change, SERVICE)
    until(lambda: _state() not in ("updating", "rollback_started", ""), 180)


def _state() -> str:
    found: str = (inspect(SERVICE).get("UpdateStatus") or {}).get("State", "")
    return found


def _running() -> int:
    """Return how many tasks are healthy, those on their way out included."""
    return len(docker("ps", "--quiet", "--filter", f"name={SERVICE}", "--filter", "health=healthy").split())
