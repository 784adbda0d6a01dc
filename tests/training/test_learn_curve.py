"""The command `seefood learn-curve`, from a folder of drawings to the sentence, the plot and the points."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw_folder
from tests.fixtures.small_backbone import SMALL
from training.data.cache import CACHE


@pytest.mark.slow
def test_a_folder_has_a_sentence_a_plot_and_points(drawn: Path, weights: Path, tmp_path: Path) -> None:
    models, out = tmp_path / "models", tmp_path / "out"
    command = ("learn-curve", drawn, "--backbone", SMALL, "--weights", weights, "--out", out, "--more", "1000")
    result = seefood(models, *command)
    assert result.exit_code == 0, result.stderr
    points = json.loads((out / "learning-curve.json").read_text())
    assert result.stdout.splitlines()[0] == points["sentence"]
    assert [point["photos"] for point in points["points"]] == sorted(point["photos"] for point in points["points"])
    assert points["points"][-1]["photos"] + points["held_out"] == 128
    assert points["points"][0]["error"] > points["points"][-1]["error"]
    with Image.open(out / "learning-curve.png") as plot:
        assert plot.format == "PNG"
    kept = (models / CACHE).stat()
    assert seefood(models, *command).stdout == result.stdout, "the same seed has the same result"
    assert (models / CACHE).stat().st_mtime_ns == kept.st_mtime_ns, "the features are read from the cache"
    assert not list(models.glob("[!.]*")), "no version is made"


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("one class", "must have exactly two subfolders, one for each class; found: hotdog."),
        ("few photos", "has 31 photos of hotdog and 31 of not_hotdog; at least 32 of each are needed."),
        ("missing", "can't be read as a folder: No such file or directory."),
        ("random weights", "requires pretrained weights; give imagenet or a file with --weights."),
        ("no weights file", "can't be read: No such file or directory."),
        ("output", "can't be used: File exists; name a folder that can be written to."),
    ],
)
def test_what_cannot_work_is_a_sentence(case: str, sentence: str, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", each=31 if case == "few photos" else 32)
    out, weights = tmp_path / "out", "none" if case == "random weights" else str(tmp_path / "nothing.pth")
    if case == "one class":
        (folder / "not_hotdog").rename(tmp_path / "elsewhere")
    elif case == "missing":
        folder = tmp_path / "nowhere"
    elif case == "output":
        out.touch()
    result = seefood(tmp_path / "models", "learn-curve", folder, "--weights", weights, "--out", out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("seefood: ")
    assert result.stderr.endswith(f"{sentence}\n")
    assert result.stderr.count("\n") == 1
