"""The compose file on a Docker engine: the service is hardened and recovers from faults."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.docker.conftest import Note, docker, inspect, write_registry
from tests.fixtures.drawing import encode
from tests.fixtures.load import asking, until
from tests.fixtures.server import free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

PLUGIN = shutil.which("docker") and "Docker Compose" in docker("compose", "version", check=False)
COMPOSE = ["docker", "compose"] if PLUGIN else ["docker-compose", "--compatibility"]


@dataclass(frozen=True)
class Up:
    """A running Compose project."""

    port: int
    environment: dict[str, str]

    def compose(self, *arguments: str) -> str:
        return subprocess.run(
            [*COMPOSE, "--project-name", "seefood-test", *arguments],
            env=os.environ | self.environment, cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    def container(self, service: str = "seefood") -> str:
        return self.compose("ps", "--quiet", service)

    def healthy(self) -> bool:
        states = [inspect(self.container(service))["State"] for service in ("seefood", "nginx")]
        return all(state["Running"] and state["Health"]["Status"] == "healthy" for state in states)

    def metrics(self) -> str:
        """Return the metrics of the service; the front door does not publish them."""
        code = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8000/metrics').read().decode())"
        return docker("exec", self.container(), "python", "-c", code)

    def post(self, photo: bytes, key: str = "") -> int:
        return self._ask("POST", "/v1/predict", photo, key)[0]

    def get(self, path: str) -> str:
        return self._ask("GET", path)[1]

    def _ask(self, method: str, path: str, body: bytes | None = None, key: str = "") -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "image/jpeg", "X-API-Key": key})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the registry that the Compose project mounts."""
    return write_registry(tmp_path_factory.mktemp("compose") / "models")


@pytest.fixture(scope="module")
def up(image: str, front_image: str, models: Path) -> Iterator[Up]:
    """Start the compose file with other image names, another port and another registry, once for all tests."""
    with _up(image, front_image, models) as project:
        yield project


@contextmanager
def _up(image: str, front_image: str, registry: Path, **more: str) -> Iterator[Up]:
    if not shutil.which(COMPOSE[0]):
        pytest.skip("there is neither docker compose nor docker-compose")
    port = free_port()
    settings = {"IMAGE": image, "PUBLISH": str(port), "REGISTRY": str(registry), "FEEDBACK_DIR": "/feedback"}
    settings["FRONT_IMAGE"] = front_image
    project = Up(port, {f"SEEFOOD_{name}": value for name, value in settings.items()} | more)
    try:
        project.compose("up", "--detach", "--no-build")
        until(project.healthy, 120)
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "5")


def test_it_answers_and_is_hardened(up: Up, photos_to_send: list[bytes]) -> None:
    assert {up.post(photo) for photo in photos_to_send} == {200}
    assert "seefood_photos_in_flight 0.0" in up.metrics()
    assert "urn:problem-type:seefood:not-found" in up.get("/metrics")
    _check_hardened(up.container(), ("/", "/opt/seefood", "/models", "/etc"), 2_000_000_000, 2**30)
    _check_hardened(up.container("nginx"), ("/", "/opt/front", "/etc"), 1_000_000_000, 2**29)
    assert not any(inspect(up.container())["NetworkSettings"]["Ports"].values()), "only nginx has a published port"


def _check_hardened(name: str, paths: tuple[str, ...], nano_cpus: int, memory: int) -> None:
    for path in paths:
        assert "Read-only file system" in docker("exec", name, "touch", f"{path}/new", check=False)
    status = docker("exec", name, "cat", "/proc/1/status")
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert {fields[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split() == ["10001"] * 4
    limits = inspect(name)["HostConfig"]
    assert limits["Memory"] == memory
    assert limits["NanoCpus"] == nano_cpus
    assert limits["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}


def test_feedback_is_kept_in_a_volume(up: Up, photos_to_send: list[bytes]) -> None:
    assert up._ask("POST", "/v1/feedback?label=hotdog", photos_to_send[0])[0] == 201
    up.compose("restart", "seefood")
    until(up.healthy, 120)
    assert up._ask("POST", "/v1/feedback?label=hotdog", photos_to_send[0])[0] == 200, "stored before the restart"


def test_accepted_photos_are_exported_to_a_mounted_folder(up: Up, tmp_path: Path, photos_to_send: list[bytes]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)  # as root, docs/feedback.md gives it to the user of the container
    assert up._ask("POST", "/v1/feedback?label=not_hotdog", photos_to_send[1])[0] in (200, 201)
    once = ("run", "--rm", "-T", "--no-deps", "--volume", f"{out}:/out", "seefood", "inbox", "--inbox", "/feedback")
    waiting = [json.loads(line) for line in up.compose(*once, "list", "--json").splitlines()]
    up.compose(*once, "accept", "--label", "not_hotdog", str(waiting[0]["id"]))
    up.compose(*once, "export", "/out/corrections")
    assert len(list((out / "corrections" / "not_hotdog").iterdir())) == 1


def test_a_flood_of_large_photos_stays_within_its_memory(up: Up, note: Note) -> None:
    noise = Image.effect_noise((2000, 1500), 60).resize((8000, 6000)).convert("RGB")
    photo = encode(noise, quality=85)
    restarts = inspect(up.container())["RestartCount"]
    with asking(up.port, photo, clients=40) as load:
        peak = 0.0
        end = time.monotonic() + 20
        while time.monotonic() < end:
            used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", up.container()).split("MiB")[0]
            peak = max(peak, float(used))
    assert not load.failures
    assert 200 in load.statuses
    assert set(load.statuses) <= {200, 429, 504}, "no process and no container was killed"
    state = inspect(up.container())
    assert (state["State"]["OOMKilled"], state["RestartCount"]) == (False, restarts)
    assert "was killed" not in up.compose("logs", "seefood")
    note(f"40 clients with photos of 48 megapixels, {len(photo) / 1e6:.1f} MB: {load}; {peak:.0f} of 1024 MiB used")


def test_a_killed_worker_and_a_killed_container_come_back(up: Up, photos_to_send: list[bytes], note: Note) -> None:
    name = up.container()
    code = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"
    with asking(up.port, photos_to_send[0]) as load:
        time.sleep(1)
        docker("exec", name, "python", "-c", code)
        time.sleep(4)
    assert set(load.statuses) == {200}, "the front door sent the requests in flight again"
    assert len(load.failures) <= 1, "only an answer whose headers were already sent is lost, which is rare"
    note(f"kill -9 of the HTTP process: {load}")
    restarts = inspect(name)["RestartCount"]
    os.kill(inspect(name)["State"]["Pid"], 9)  # not `docker kill`, after which the engine does not restart it
    started = time.monotonic()
    until(lambda: inspect(name)["RestartCount"] == restarts + 1 and _answers(up), 60)
    note(f"kill -9 of the container: answers again after {time.monotonic() - started:.1f} s")
    assert up.post(photos_to_send[0]) == 200


def test_hup_swaps_the_model_and_no_request_fails(
    up: Up, models: Path, photos_to_send: list[bytes], note: Note
) -> None:
    with asking(up.port, photos_to_send[0]) as load:
        time.sleep(1)
        (models / "current").write_text("new\n")
        up.compose("kill", "-s", "HUP", "seefood")
        until(lambda: "new" in load.versions, 60)
        time.sleep(3)
    assert (load.failures, set(load.statuses)) == ([], {200})
    assert len(load.versions) == 2
    assert '"version":"new"' in up.get("/v1/model").replace(" ", "")
    note(f"HUP under load: {load}")


def test_api_keys_can_be_given_as_a_secret(
    image: str, front_image: str, registry: Path, tmp_path: Path, photos_to_send: list[bytes]
) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("one-of-ours\n")
    keys.chmod(0o644)
    files = ("docker-compose.yml", "docker-compose.override.yml", "deploy/compose.keys.yml")
    with _up(image, front_image, registry, SEEFOOD_KEYS=str(keys), COMPOSE_FILE=os.pathsep.join(files)) as up:
        assert up.post(photos_to_send[0]) == 401
        assert up.post(photos_to_send[0], "one-of-ours") == 200
        assert "one-of-ours" not in docker("inspect", up.container())


def _answers(up: Up) -> bool:
    try:
        return "ready" in up.get("/readyz")
    except OSError:
        return False
