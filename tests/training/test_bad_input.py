"""Errors in photos, folders, weights and disks give one sentence, and do not change the registry."""

import json
import math
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
import torchvision

from service.model import open_model
from service.photo import NAMES
from service.registry import current_version
from tests.conftest import ROOT
from tests.fixtures.command import seefood
from tests.fixtures.disk import Disk, disk, read_only
from tests.fixtures.drawing import draw, draw_folder, encode
from tests.fixtures.load import until
from tests.fixtures.small_backbone import SMALL
from tests.fixtures.tiny_model import write_tiny_registry
from training.data.cache import Cache
from training.data.checks import read_photo_info
from training.registry.store import METRICS

__all__ = ["disk", "read_only"]

NEW_LINE, NO_UTF8 = b"new\nline.jpg", b"no \xff\xfe utf-8.jpg"
HUGE = 30_000
TOO_LARGE = (
    "The PNG photo has 30000 x 30000 pixels; at most 50,000,000 are accepted in this format, so send a smaller one."
)


def _arguments(folder: Path, models: Path, *more: str | Path) -> list[str]:
    network = ("--weights", "none", "--backbone", SMALL)
    return [*map(str, ("train", folder, *network, "--epochs", "1", *more)), "--models", str(models)]


def _command(folder: Path, models: Path) -> list[str]:
    return [sys.executable, "-m", "service.cli", *_arguments(folder, models)]


def _sentence(status: int, stderr: str) -> str:
    """Return the last line of stderr, which must be one sentence."""
    last = stderr.replace("\r", "\n").splitlines()[-1]
    assert (status, last[:9], last[-1]) == (2, "seefood: ", "."), stderr
    assert "Traceback" not in stderr
    return last.removeprefix("seefood: ")


def _versions(models: Path) -> list[str]:
    return sorted(path.parent.name for path in models.glob(f"*/{METRICS}"))


def _huge_png() -> bytes:
    """Return a valid white PNG of HUGE x HUGE pixels and 1 bit: 110 kB that decode to 900 MB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, row = zlib.compressobj(), b"\0" + b"\xff" * (HUGE // 8)
    data = b"".join([*(rows.compress(row) for _ in range(HUGE)), rows.flush()])
    header = struct.pack(">IIBBBBB", HUGE, HUGE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _named(folder: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return a training folder with damaged, duplicate, hidden and special files."""
    folder = draw_folder(tmp_path / "photos", each=36)
    hotdogs = folder / "hotdog"
    whole = (hotdogs / "000.jpg").read_bytes()
    (hotdogs / "text.jpg").write_text("not a photo")
    (hotdogs / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (hotdogs / "empty.jpg").touch()
    (hotdogs / "huge.png").write_bytes(_huge_png())
    with (hotdogs / "heavy.jpg").open("wb") as heavy:
        heavy.truncate(20_000_001)
    for name, seed in ((NEW_LINE, 500), (NO_UTF8, 501)):
        _named(hotdogs, name).write_bytes(encode(draw("hotdog", seed)))
        _named(hotdogs, b"z copy of " + name).write_bytes(_named(hotdogs, name).read_bytes())
    for path in (hotdogs / "nested/deeper/502.jpg", hotdogs / ".hidden.jpg", hotdogs / ".hidden/photo.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw("hotdog", 502)))
    (hotdogs / "folder.jpg").mkdir()
    (hotdogs / "dangling.jpg").symlink_to("nowhere.jpg")
    (hotdogs / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(hotdogs / "pipe.jpg")
    return folder


def _reasons(folder: Path) -> dict[str, str]:
    """Return the files of the odd folder that must be left out, in UTF-8, with the reasons."""
    hotdogs = folder / "hotdog"
    same = f"It shows the same picture as {hotdogs}/"
    return {
        f"{hotdogs}/empty.jpg": "The photo is empty (0 bytes); send a file with content.",
        f"{hotdogs}/heavy.jpg": "The photo has 20,000,001 bytes; at most 20,000,000 are accepted; send a smaller one.",
        f"{hotdogs}/huge.png": TOO_LARGE,
        f"{hotdogs}/text.jpg": f"The bytes are not a photo, or its header is damaged; send {NAMES}.",
        f"{hotdogs}/truncated.jpg": "The JPEG photo is damaged or truncated and can't be decoded; send another copy.",
        f"{hotdogs}/z copy of new\nline.jpg": f"{same}new\\nline.jpg.",
        f"{hotdogs}/z copy of no \\xff\\xfe utf-8.jpg": f"{same}no \\xff\\xfe utf-8.jpg.",
    }


def test_odd_files_are_named_and_left_out(odd: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()  # for the cache
    for _ in range(2):
        result = seefood(models, "check", odd, "--json")
        assert result.exit_code == 0
        found = json.loads(result.stdout.encode())  # strictly UTF-8
        assert found["left_out"] == _reasons(odd)
        assert found["photos"] == {"hotdog": 36 + 5 + 4 + 1, "not_hotdog": 36}
    table = seefood(models, "check", odd).stdout.splitlines()
    for path, reason in _reasons(odd).items():
        assert f"        {path}: {reason}".replace("\n", "\\n") in table


def test_a_huge_picture_is_not_decoded(tmp_path: Path) -> None:
    """It is refused by its header. Decoding it would take too much memory, which another sentence says."""
    (tmp_path / "huge.png").write_bytes(_huge_png())
    assert (tmp_path / "huge.png").stat().st_size < 200_000
    (info,) = read_photo_info([tmp_path / "huge.png"], Cache(None))
    assert info.error == TOO_LARGE


@pytest.mark.slow
def test_odd_files_do_not_stop_training(odd: Path, tmp_path: Path) -> None:
    test = draw_folder(tmp_path / "test", each=3, first=2000)
    for label in ("hotdog", "not_hotdog"):  # under both labels, so that one of them is wrong
        _named(test / label, NEW_LINE).write_bytes(encode(draw("hotdog", 3000)))
        _named(test / label, NO_UTF8).write_bytes(encode(draw("not_hotdog", 3001)))
        _named(test / label, b"pipe | <b>.jpg").write_bytes(encode(draw("hotdog", 3002)))
    (test / "hotdog" / "text.jpg").write_text("not a photo")
    models = tmp_path / "models"
    result = seefood(models, *_arguments(odd, models, "--test", test))
    assert result.exit_code == 0, result.stderr
    lines = result.stderr.splitlines()
    for path, reason in _reasons(odd).items():
        assert f"Left out: {path}: {reason}".replace("\n", "\\n") in lines
    version = models / current_version(models)
    page, card = ((version / name).read_text(encoding="utf-8") for name in ("report/index.html", "card.md"))
    for text in (page, card):
        assert "\nline.jpg" not in text
    assert "no \\xff\\xfe utf-8.jpg" in page
    assert "new\\nline.jpg" in card
    assert all(line.count("|") - line.count("\\|") == 3 for line in card.splitlines() if ".jpg" in line)
    assert open_model(models).metadata.metrics["validation"]["accuracy"]["value"] >= 0


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("missing", "can't be read as a folder: No such file or directory."),
        ("file", "can't be read as a folder: Not a directory."),
        ("empty", "must have exactly two subfolders, one for each class; found: none."),
        ("one class", "must have exactly two subfolders, one for each class; found: hotdog."),
        ("three classes", "must have exactly two subfolders, one for each class; found: hotdog, not_hotdog, pizza."),
        ("no photos", "has 0 photos of hotdog and 0 of not_hotdog; at least 32 of each are needed."),
        ("few photos", "has 31 photos of hotdog and 32 of not_hotdog; at least 32 of each are needed."),
        ("tested on", "is given twice; use different folders for training and for testing."),
        (
            "odd class",
            "/not\\n\\xff has characters that can't be printed in its name; rename the folder.",
        ),
    ],
)
def test_a_folder_that_cannot_be_trained_on(command: str, change: str, sentence: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    empty = change in ("missing", "empty", "no photos")
    if change not in ("missing", "empty"):
        draw_folder(folder, each=0 if empty else 32)
    elif change == "empty":
        folder.mkdir()
    more: list[str | Path] = []
    if change == "file":
        folder = folder / "hotdog" / "000.jpg"
    elif change == "one class":
        (folder / "not_hotdog").rename(tmp_path / "elsewhere")
    elif change == "three classes":
        (folder / "pizza").mkdir()
    elif change == "few photos":
        (folder / "hotdog" / "007.jpg").rename(folder / "hotdog" / ".007.jpg")
    elif change == "tested on":
        more = ["--test", folder]
    elif change == "odd class":
        (folder / "not_hotdog").rename(_named(folder, b"not\n\xff"))
    result = seefood(tmp_path / "models", command, folder, *more)
    joint = "" if change == "odd class" else " "
    assert _sentence(result.exit_code, result.stderr) == f"{folder}{joint}{sentence}"
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("command", ["check", "train"])
def test_too_few_photos_that_can_be_read(command: str, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", each=32)
    (folder / "hotdog" / "000.jpg").write_text("not a photo")
    result = seefood(tmp_path / "models", command, folder, *(["--weights", "none"] if command == "train" else []))
    if command == "check":  # it reports, and trains nothing
        assert (result.exit_code, result.stderr) == (0, "")
        return
    assert "/hotdog/000.jpg, which leaves 31 photos of hotdog" in _sentence(result.exit_code, result.stderr)
    assert _versions(tmp_path / "models") == []


def _train_quickly(folder: Path, models: Path) -> str:
    result = seefood(models, "train", folder, "--weights", "none")
    assert result.stderr.count("\n") == 1, "the error comes before any computation"
    return _sentence(result.exit_code, result.stderr)


def test_a_read_only_output(read_only: Path, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", each=32)
    expected = "can't be used: Read-only file system; name a folder that can be written to."
    assert _train_quickly(folder, read_only).endswith(expected)
    assert _train_quickly(folder, read_only / "models") == f"The output folder {read_only}/models {expected}"
    assert seefood(read_only, "check", folder).exit_code == 0, "check does not need to write"


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", each=32)
    file = tmp_path / "models"
    file.write_text("mine")
    assert _train_quickly(folder, file).startswith(f"The output folder {file} can't be used: File exists; name a")
    assert _train_quickly(folder, file / "models").endswith(
        "/models can't be used: Not a directory; name a folder that can be written to."
    )
    assert file.read_text() == "mine"


# By what is being written: what shows that it is about to be, and how many bytes of the disk are left.
FULL: dict[str, tuple[str | None, int]] = {
    "cache": (None, 8192),
    "checkpoint": (".runs/*", 1_000_000),
    "export": (".2*-*", 1_000_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", FULL)
def test_a_full_disk(stage: str, disk: Disk, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", each=33)
    models = write_tiny_registry(disk.folder / "models")
    before = {path.name for path in models.glob("[!.]*")}
    sign, spare = FULL[stage]
    with (tmp_path / "stderr").open("w+") as stderr:
        process = subprocess.Popen(_command(folder, models), cwd=ROOT, stderr=stderr, stdout=subprocess.DEVNULL)
        try:
            until(lambda: sign is None or any(models.glob(sign)) or process.poll() is not None, 300, interval=0.01)
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            disk.fill(process.pid, spare)
            status = process.wait(300)
        finally:
            process.kill()
        sentence = _sentence(status, (tmp_path / "stderr").read_text())
    if disk.mounted:  # a file size limit also affects temporary files elsewhere
        assert str(disk.folder) in sentence, "the sentence names the disk"
        assert "; make room on " in sentence, "the sentence says what to do"
    assert {path.name for path in models.glob("[!.]*")} == before
    assert list(models.glob(".2*")) == [], "the draft is removed"
    assert open_model(models).metadata.version
    assert seefood(models, "models").stdout.splitlines()[1].startswith("* tiny ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tensor", "value"), [("layer1.0.conv1.weight", math.inf), ("bn1.running_mean", math.nan), ("conv1.weight", 3e38)]
)
def test_weights_that_make_the_loss_no_number(tensor: str, value: float, tmp_path: Path) -> None:
    weights = torchvision.models.resnet18().state_dict()
    weights[tensor].fill_(value)
    torch.save(weights, tmp_path / "broken.pth")
    folder = draw_folder(tmp_path / "photos", each=33)
    models = write_tiny_registry(tmp_path / "models")
    network = ("--backbone", "resnet18", "--weights", tmp_path / "broken.pth")
    result = seefood(models, *_arguments(folder, models, *network))
    sentence = _sentence(result.exit_code, result.stderr)
    assert "number" in sentence
    assert "weights" in sentence
    if not math.isfinite(value):
        assert str(tmp_path / "broken.pth") in sentence, "the sentence names the file"
    assert _versions(models) == ["tiny"]
    assert current_version(models) == "tiny"


def test_a_current_version_that_is_gone(tmp_path: Path) -> None:
    models = write_tiny_registry(tmp_path / "models")
    (models / "current").write_text("gone\n")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encode(draw("hotdog", 1)))
    sentence = f"There is no model file {models}/gone/model.int8.onnx; `seefood models` lists the versions in {models}."
    for command in (["predict", photo], ["serve"], ["models", "promote", "tiny", "--test", tmp_path]):
        result = seefood(models, *command)
        assert _sentence(result.exit_code, result.stderr) == sentence
    assert "tiny" in seefood(models, "models").stdout
    assert seefood(models, "models", "promote", "tiny", "--force").exit_code == 0
    assert seefood(models, "predict", photo).exit_code == 0


@pytest.mark.parametrize("damage", ["{", "[]", '{"validation": {"accuracy": 1}}'])
def test_damaged_metrics(damage: str, tmp_path: Path) -> None:
    models = write_tiny_registry(tmp_path / "models")
    (models / "tiny" / METRICS).write_text(damage)
    result = seefood(models, "models")
    sentence = _sentence(result.exit_code, result.stderr)
    assert sentence.startswith(f"The metrics {models}/tiny/metrics.json can't be read: ")
    assert sentence.endswith("; restore that file, or remove the version's folder.")
