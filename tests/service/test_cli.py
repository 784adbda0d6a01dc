"""Output and exit status of the command line."""

import errno
import json
import os
import socket
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from service.cli import main
from service.photo import NAMES
from tests.fixtures.command import seefood
from tests.fixtures.drawing import encode
from tests.fixtures.server import free_port

_COLOURS = {
    "blue.png": (0, 0, 255),
    "green.png": (0, 255, 0),
    "grey.png": (90, 90, 90),
    "red.png": (255, 0, 0),
    "yellow.png": (255, 255, 0),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in _COLOURS.items():
        (tmp_path / name).write_bytes(encode(Image.new("RGB", (30, 20), colour), "PNG"))
    return tmp_path


def test_a_url_requires_a_file_for_the_rows(tiny_models: Path) -> None:
    result = seefood(tiny_models, "predict", "s3://bucket/folder")
    assert (result.exit_code, result.stderr) == (2, "seefood: URLs require --out; add --out FILE.\n")


def test_predict_prints_a_table(tiny_models: Path, folder: Path) -> None:
    result = seefood(tiny_models, "predict", folder)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "VERDICT                            P(hotdog)  PHOTO",
        f"not_hotdog                              0.0%  {folder}/blue.png",
        f"hotdog, uncertain, unfamiliar          50.0%  {folder}/green.png",
        f"hotdog, uncertain                      50.0%  {folder}/grey.png",
        f"hotdog                                100.0%  {folder}/red.png",
        f"hotdog, unfamiliar                    100.0%  {folder}/yellow.png",
    ]


def test_json_output_has_one_object_on_each_line(tiny_models: Path, folder: Path) -> None:
    result = seefood(tiny_models, "predict", "--json", folder / "red.png", folder / "blue.png")
    red, blue = map(json.loads, result.stdout.splitlines())
    assert red["file"] == str(folder / "red.png")
    assert (red["label"], red["hotdog"], red["uncertain"], red["unfamiliar"]) == ("hotdog", True, False, False)
    assert (blue["label"], blue["hotdog"]) == ("not_hotdog", False)


def test_missing_and_damaged_files_are_reported_and_others_classified(tiny_models: Path, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"nothing to see")
    result = seefood(tiny_models, "predict", folder / "missing.jpg", folder / "broken.jpg", folder / "red.png")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[1:] == [f"hotdog                                100.0%  {folder}/red.png"]
    assert result.stderr.splitlines() == [
        f"seefood: {folder}/missing.jpg: The file can't be read: No such file or directory.",
        f"seefood: {folder}/broken.jpg: The bytes are not a photo, or its header is damaged; send {NAMES}.",
    ]


def test_a_folder_without_photos_is_named(tiny_models: Path, tmp_path: Path) -> None:
    result = seefood(tiny_models, "predict", tmp_path)
    assert (result.exit_code, result.stderr) == (2, f"seefood: No photos found in {tmp_path}.\n")


def test_an_unprintable_file_name_is_escaped(tiny_models: Path, folder: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(folder) + b"/new\nline \xff.png"))
    strange.write_bytes((folder / "red.png").read_bytes())
    result = seefood(tiny_models, "predict", strange)
    assert (
        result.stdout.splitlines()[1] == f"hotdog                                100.0%  {folder}/new\\nline \\xff.png"
    )
    as_json = seefood(tiny_models, "predict", "--json", strange)
    assert json.loads(as_json.stdout)["file"] == f"{folder}/new\nline \\xff.png"
    missing = seefood(tiny_models, "predict", strange.with_suffix(".jpg"), "--model", "\n\udcff")
    assert missing.stderr.startswith(f"seefood: There is no model file {tiny_models}/\\n\\xff/model.int8.onnx;")
    assert missing.stderr.count("\n") == 1


def test_a_missing_registry_is_one_sentence(folder: Path) -> None:
    result = seefood(folder / "nowhere", "predict", folder / "red.png")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"seefood: {folder}/nowhere names no current model; ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "models/current"),
            "models/current can't be used: No space left on device; make room on that disk.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "made", None, "models/best.ckpt"),
            "models/best.ckpt can't be used: No space left on device; make room on that disk.",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", b"models/new\nline \xff"),
            "models/new\\nline \\xff can't be used: Read-only file system; name a folder that can be written to.",
        ),
        (OSError(errno.EIO, "Input/output error"), "A file can't be used: Input/output error."),
        (OSError("Caught in worker 0.\nOSError: gone"), "A file can't be used: OSError: gone."),
    ],
)
def test_an_os_error_is_one_sentence(
    error: OSError, sentence: str, tiny_models: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("scoring.cli.open_model", fail)
    result = seefood(tiny_models, "predict", folder)
    assert (result.exit_code, result.stderr) == (2, f"seefood: {sentence}\n")


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    commands = entry_points(group="seefood.commands").names | {"serve", "inbox"}
    assert len(commands) > 8
    for command in commands:
        assert f"  {command} " in result.stdout


def test_the_version_is_that_of_the_installed_package() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"seefood, version {version('seefood')}\n"


@pytest.mark.parametrize("command", [["train", "x"], ["evaluate", "x"]])
def test_training_commands_name_the_extra_where_torch_is_absent(command: list[str]) -> None:
    hide = "import sys; sys.modules['torch'] = None; from service.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", hide, *command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.rstrip() == (
        "seefood: This command needs PyTorch; run pip install '.[train]' in a clone, or use the image seefood:train."
    )


def test_the_service_imports_nothing_of_the_extras() -> None:
    names = ("service.app", "service.cli", "scoring.cli")
    absent = {"torch", "training", "onnx", "scipy", "pyarrow", "ray"}
    check = f"import sys, {', '.join(names)}; print({absent} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_onnx_runtime_telemetry_is_off(tiny_models: Path, tmp_path: Path) -> None:
    """ONNX Runtime stores its telemetry in the home directory, unless it is turned off."""
    opened = f"from service.model import open_model; open_model(Path({str(tiny_models)!r}))"
    code = f"import time; from pathlib import Path; {opened}; time.sleep(0.5)"
    quiet = ("CI", "ORT_", "GITHUB_", "XDG_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(quiet)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("", "")
    assert not list(tmp_path.rglob("*"))


def test_an_address_in_use_is_one_sentence(tiny_models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(main, ["serve", "--port", str(port)], env={"SEEFOOD_MODELS": str(tiny_models)})
    assert result.exit_code == 2
    assert result.stderr.startswith(f"seefood: The address 127.0.0.1:{port} can't be used (")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"SEEFOOD_PORT": "http"}, "SEEFOOD_PORT is 'http'; it must be a whole number from 1 to 65535."),
        (
            {"SEEFOOD_PORT": "70000"},
            "SEEFOOD_PORT is '70000'; it must be a whole number from 1 to 65535.",
        ),
        ({"SEEFOOD_HOST": "ü..b"}, "The address ü..b:"),
        ({"SEEFOOD_HOST": "2001:db8::1"}, "The address [2001:db8::1]:"),
        ({"SEEFOOD_SHADOW_SHARE": "10%"}, "SEEFOOD_SHADOW_SHARE is '10%'; it must be a number from 0 to 1, as 0.5."),
        ({"SEEFOOD_MODELS": "/nowhere"}, "/nowhere names no current model"),
        ({"SEEFOOD_MODEL": "v0"}, "There is no model file"),
        ({"SEEFOOD_MODEL": "phone", "SEEFOOD_MODELS": "/nowhere"}, "/nowhere names no phone model; name one with"),
        ({"SEEFOOD_MODEL": "pyproject.toml.onnx"}, "There is no model file pyproject.toml.onnx"),
        ({"SEEFOOD_DEVICE": "cuda"}, "The device cuda can't be used"),
    ],
)
def test_a_service_that_cannot_start_says_why(tiny_models: Path, settings: dict[str, str], sentence: str) -> None:
    environment = os.environ | {"SEEFOOD_MODELS": str(tiny_models), "SEEFOOD_PORT": str(free_port())} | settings
    command = [sys.executable, "-m", "service.cli", "serve"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"seefood: {sentence}")
    assert result.stderr.count("\n") == 1
