"""The compose file as a stack on a swarm of one node: updated, rolled back and scaled under load."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from service.registry import FILES
from tests.conftest import ROOT
from tests.docker.conftest import Note, docker, inspect
from tests.fixtures.load import asking, until
from tests.fixtures.server import free_port
from tests.fixtures.tiny_model import METADATA, write_tiny_model

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

STACK = "seefoodtest"
SERVICE = f"{STACK}_seefood"


@pytest.fixture(scope="module")
def swarm(engine: None) -> Iterator[None]:  # noqa: ARG001
    """Make the engine a swarm if it is not one, and restore it afterwards."""
    before = docker("info", "--format", "{{.Swarm.LocalNodeState}}")
    if before == "inactive":
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    yield
    if before == "inactive":
        docker("swarm", "leave", "--force")


@pytest.fixture(scope="module")
def images(image: str, registry_of_the_new: Path) -> dict[str, str]:
    """Return the images of the updates: one with another model, one that ends at once, and one that never answers."""
    docker("build", "--tag", "seefood:test-new", str(registry_of_the_new))
    docker("build", "--tag", "seefood:test-ending", "-", stdin=f"FROM {image}\nENV SEEFOOD_MODELS=/lost\n")
    docker("build", "--tag", "seefood:test-silent", "-", stdin=f'FROM {image}\nENTRYPOINT ["sleep", "600"]\n')
    return {name: f"seefood:test-{name}" for name in ("new", "ending", "silent")}


@pytest.fixture(scope="module")
def registry_of_the_new(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the build context of an image with another current model."""
    folder = tmp_path_factory.mktemp("new")
    write_tiny_model(folder / "models" / "new" / FILES["int8"], METADATA.to_properties() | {"version": "new"})
    (folder / "models" / "current").write_text("new\n")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY models /models\n")
    return folder


@pytest.fixture(scope="module")
def stack(
    swarm: None,  # noqa: ARG001
    image: str,
    front_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """Deploy the compose file, wait until everything is healthy, and return the port of the front door."""
    file = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    file["networks"] = {"default": {"driver": "overlay", "attachable": True}}
    path = tmp_path_factory.mktemp("stack") / "docker-compose.yml"
    path.write_text(yaml.safe_dump(file))
    command = ["docker", "stack", "deploy", "--resolve-image", "never", "--compose-file", str(path), STACK]
    port = free_port()
    settings = {"SEEFOOD_IMAGE": image, "SEEFOOD_FRONT_IMAGE": front_image, "SEEFOOD_PUBLISH": str(port)}
    subprocess.run(command, env=os.environ | settings, check=True, capture_output=True)
    try:
        until(lambda: _running() == 2 and _running(f"{STACK}_nginx") == 1, 120)
        yield port
    finally:
        docker("stack", "rm", STACK)
        until(lambda: not docker("ps", "--quiet", "--filter", f"label=com.docker.stack.namespace={STACK}"), 90)
        until(lambda: not docker("network", "ls", "--quiet", "--filter", f"name={STACK}"), 60)
        time.sleep(1)
        docker("volume", "rm", "--force", f"{STACK}_feedback", f"{STACK}_front", check=False)


@dataclass
class Seen:
    """What clients in the network of the stack observed."""

    requests: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.statuses.get('200', 0)} x 200, {len(self.failures)} failed"


@contextmanager
def _asking(image: str, photo: Path) -> Iterator[Seen]:
    """Run four clients in the network of the stack until the block ends."""
    mounts = [f"{ROOT / 'tests' / 'fixtures' / 'load.py'}:/load.py:ro", f"{photo}:/photo.jpg:ro"]
    volumes = [word for mount in mounts for word in ("--volume", mount)]
    name = docker(
        "run", "--detach", "--network", f"{STACK}_default", *volumes, "--entrypoint", "python", image,
        "-c", _CLIENT,
    )  # fmt: skip
    seen = Seen()
    try:
        until(lambda: docker("logs", name))
        yield seen
        time.sleep(1.5)  # the last line of its log is up to a second old
        vars(seen).update(json.loads(docker("logs", "--tail", "1", name)))
    finally:
        docker("rm", "--force", name)


_CLIENT = """
import collections, json, sys, time
sys.path.insert(0, "/")
from load import asking
with asking(8000, open("/photo.jpg", "rb").read(), host="seefood") as load:
    while True:
        time.sleep(0.5)
        print(json.dumps({
            "requests": len(load.statuses) + len(load.failures),
            "statuses": collections.Counter(load.statuses),
            "versions": sorted(load.versions),
            "failures": [repr(failure) for failure in load.failures],
        }), flush=True)
"""


@pytest.fixture(scope="module")
def photo(photos_to_send: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the photo that clients send."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(photos_to_send[0])
    path.chmod(0o644)
    return path


def test_the_front_door_answers_on_the_port_of_the_node(stack: int, photo: Path) -> None:
    with asking(stack, photo.read_bytes()) as load:
        until(lambda: len(load.statuses) > 50)
    assert (load.failures, set(load.statuses)) == ([], {200})


@pytest.mark.usefixtures("stack")
def test_an_update_fails_no_request(image: str, images: dict[str, str], photo: Path, note: Note) -> None:
    with _asking(image, photo) as seen:
        started = time.monotonic()
        _update("--image", images["new"])
        took = time.monotonic() - started
    assert _state() == "completed"
    assert (seen.failures, set(seen.statuses)) == ([], {"200"})
    assert len(seen.versions) == 2
    note(f"swarm, 2 replicas rolled to a new version in {took:.0f} s: {seen}")


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("broken", ["ending", "silent"])
def test_an_update_to_a_broken_version_is_rolled_back(
    broken: str, image: str, images: dict[str, str], photo: Path, note: Note
) -> None:
    before = inspect(SERVICE)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]
    with _asking(image, photo) as seen:
        started = time.monotonic()
        _update("--image", images[broken])
        took = time.monotonic() - started
    assert _state() == "rollback_completed"
    assert inspect(SERVICE)["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == before
    assert (seen.failures, set(seen.statuses)) == ([], {"200"})
    note(f"swarm, rolled back from a version that is {broken} in {took:.0f} s: {seen}")


@pytest.mark.usefixtures("stack")
def test_it_scales_while_clients_ask(image: str, photo: Path, note: Note) -> None:
    with _asking(image, photo) as seen:
        for replicas in (3, 1, 2):  # a node with two CPUs has capacity for three and the front door
            docker("service", "scale", "--detach", f"{SERVICE}={replicas}")
            until(lambda: _running() == replicas, 120)  # noqa: B023 - called at once
            time.sleep(2)
    assert (seen.failures, set(seen.statuses)) == ([], {"200"})
    note(f"swarm, scaled from 2 to 3, 1 and 2: {seen}")


def _update(*change: str) -> None:
    """Update the service, and wait until the update or its roll-back is complete."""
    before = _status().get("StartedAt")
    docker("service", "update", "--detach", "--no-resolve-image", *change, SERVICE)
    until(lambda: _status().get("StartedAt") != before, 20)
    until(lambda: _state() not in ("updating", "rollback_started"), 240)


def _state() -> str:
    return _status().get("State", "")


def _status() -> dict[str, str]:
    return inspect(SERVICE).get("UpdateStatus") or {}


def _running(service: str = SERVICE) -> int:
    """Return the number of healthy tasks, including tasks that are shutting down."""
    return len(docker("ps", "--quiet", "--filter", f"name={service}", "--filter", "health=healthy").split())
