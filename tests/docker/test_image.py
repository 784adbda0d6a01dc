"""The content of the image, its user, and the error sentences of wrong settings."""

import json
import shutil
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from service.browser_model import RUNTIME, WASM
from service.photo import FORMATS
from service.registry import CURRENT, PHONE
from tests.conftest import ROOT
from tests.docker.conftest import Note, default_of, docker, inspect
from tests.fixtures.drawing import draw, encode
from tests.fixtures.load import until
from tests.fixtures.server import free_port
from tests.fixtures.tiny_model import write_tiny_registry, write_tiny_version

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp")  # noqa: S108


def _in(image: str, *command: str) -> str:
    return docker("run", "--rm", "--entrypoint", command[0], image, *command[1:])


def test_it_is_small(image: str, note: Note) -> None:
    base = default_of(ROOT / "Dockerfile", "PYTHON_IMAGE")
    whole, below = inspect(image)["Size"] / 1e6, inspect(base)["Size"] / 1e6
    note(f"image: {whole:.0f} MB, of which the base image {base} is {below:.0f} MB: {whole - below:.0f} MB on top")
    assert whole - below <= 240


def test_the_image_contains_only_what_the_service_needs(image: str) -> None:
    assert inspect(image)["Config"]["User"] == "10001:10001"
    assert _in(image, "id", "-u") == "10001"
    listed = docker("run", "--rm", "--user", "0", "--entrypoint", "find", image, "/", "-xdev").splitlines()
    names = {Path(path).name for path in listed if Path(path).parent.name in ("bin", "sbin")}
    assert not names & {"gcc", "cc", "g++", "clang", "ld", "make"}, "no compiler"
    packages = {path.split("site-packages/")[1].split("/")[0] for path in listed if "site-packages/" in path}
    assert {"service", "onnxruntime"} <= packages
    assert not packages & {
        "torch",
        "torchvision",
        "lightning",
        "onnx",
        "sklearn",
        "pytest",
        "hatchling",
        "uv",
    }
    assert not [path for path in listed if "/.cache/pip" in path or path.startswith(("/build", "/tests", "/opt/build"))]
    models = {path for path in listed if path.startswith("/models/")}
    expected = set()
    for pointer in (CURRENT, PHONE):
        version = (ROOT / "models" / pointer).read_text().strip()
        expected |= {f"/models/{pointer}", f"/models/{version}", f"/models/{version}/model.int8.onnx"}
    assert models == expected | {f"/models/{version}/model.onnx"}, "the last one is for browsers"


def test_it_serves_hardened_and_stops_at_once(image: str, note: Note) -> None:
    port = free_port()
    started = time.monotonic()
    name = docker("run", "--detach", *HARDENED, "--publish", f"127.0.0.1:{port}:8000", image)
    try:
        until(lambda: _status(port) == 200)
        note(f"docker run to /readyz: {time.monotonic() - started:.1f} s")
        until(lambda: inspect(name)["State"]["Health"]["Status"] == "healthy")
        first = docker("exec", name, "python", "-c", "print(open('/proc/1/cmdline').read().split(chr(0))[3])")
        assert first == "gunicorn", "gunicorn is process 1 and gets the signals"
        statuses = {kind: _classify(port, encode(draw("hotdog", 1, (640, 480)), kind)) for kind in FORMATS}
        assert statuses == dict.fromkeys(FORMATS, 200), "the user of the image is not root"
        started = time.monotonic()
        docker("stop", "--time", "30", name)
        note(f"docker stop: {time.monotonic() - started:.1f} s")
        assert inspect(name)["State"]["ExitCode"] == 0
        assert "Traceback" not in docker("logs", name)
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SEEFOOD_API_KEYS_FILE": "/run/secrets/api_keys"}, "/run/secrets/api_keys can't be used: No such file"),
        ({"SEEFOOD_MODEL": "yesterday"}, "There is no model file /models/yesterday/model.int8.onnx; `seefood models`"),
        ({"SEEFOOD_DEVICE": "cuda"}, "The device cuda can't be used: install onnxruntime-gpu in place of onnxruntime."),
        ({"SEEFOOD_PORT": "http"}, "SEEFOOD_PORT is 'http'; it must be a whole number from 1 to 65535."),
        ({"SEEFOOD_FEEDBACK_DIR": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_wrong_setting_ends_it_with_a_sentence(image: str, settings: dict[str, str], sentence: str) -> None:
    given = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    ended = subprocess.run(
        ["docker", "run", "--rm", *HARDENED, *given, image],  # noqa: S607
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("seefood: ")
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_without_a_folder_for_temporary_files_it_ends_with_a_sentence(image: str) -> None:
    said = docker("run", "--rm", "--read-only", image, check=False)
    assert said == (
        "seefood: No folder for temporary files can be written to; mount one at /tmp, or name one with TMPDIR."
    )


def test_a_container_that_is_not_ready_is_not_healthy(image: str) -> None:
    checked = docker("run", "--rm", "--entrypoint", "python", image, "-m", "service.healthcheck", check=False)
    assert checked == "seefood: not ready on port 8000: [Errno 111] Connection refused"


def test_command_lines_work_in_it(image: str, photos_to_send: list[bytes], tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "photo.jpg").write_bytes(photos_to_send[0])
    said = docker("run", "--rm", *HARDENED, "--volume", f"{tmp_path}:/photos:ro", image, "predict", "--json", "/photos")
    assert json.loads(said)["label"] in ("hotdog", "not_hotdog")


def test_it_manages_the_registry(image: str, tmp_path: Path) -> None:
    registry = write_tiny_registry(tmp_path / "models")
    write_tiny_version(registry, "new")
    shutil.copy2(registry / "tiny" / "metrics.json", registry / "new")
    for path in (tmp_path, registry, *registry.rglob("*")):
        path.chmod(0o777)
    run = ("run", "--rm", *HARDENED, "--volume", f"{registry}:/models", image)
    for version in ("tiny", "new"):
        docker(*run, "models", "promote", version, "--force")
    assert "* new " in docker(*run, "models")
    assert docker(*run, "models", "rollback") == "tiny is current again."
    assert "learn-curve" in docker(*run, "--help")
    assert docker(*run, "train", "/models", check=False) == (
        "seefood: This command needs PyTorch; run pip install '.[train]' in a clone, or use the image seefood:train."
    )


@pytest.mark.skipif(not (RUNTIME / WASM).is_file(), reason="no ONNX Runtime for browsers; run make web")
def test_it_gives_the_phone_model_to_browsers(image: str) -> None:
    port = free_port()
    container = docker("run", "--rm", "--detach", *HARDENED, "--publish", f"127.0.0.1:{port}:8000", image)
    try:
        until(lambda: _status(port) == 200)
        described = json.loads(_body(port, "/web/model.json"))
        assert described["version"] == (ROOT / "models" / PHONE).read_text().strip()
        for address, size in (
            (described["url"], described["bytes"]),
            (described["wasm"]["url"], (RUNTIME / WASM).stat().st_size),
        ):
            assert len(_body(port, f"/web/{address}")) == size
    finally:
        docker("rm", "--force", container)


def _body(port: int, path: str) -> bytes:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def _classify(port: int, photo: bytes) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", "/v1/predict", photo, {"Content-Type": "image/jpeg"})
        return connection.getresponse().status


def _status(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
