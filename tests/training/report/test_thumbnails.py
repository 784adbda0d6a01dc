"""Thumbnails have their size, name, caption and heatmap."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from service.model import open_model
from tests.fixtures.drawing import draw, encode
from training.data.checks import Findings, LabelIssue
from training.evaluation.evaluate import Mistake
from training.report.thumbnails import GROUPS, SIDE, of_label_issues, of_mistakes, of_same_pictures


def _photo(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(draw("hotdog", seed)))
    return path


def _opened(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))


def test_a_suspect_has_its_label_and_quality(tmp_path: Path) -> None:
    (shown,) = of_label_issues([LabelIssue(_photo(tmp_path / "cat" / "a\n1.jpg"), "cat", 0.034)])
    assert (shown.caption, shown.name) == ("cat: 0.03", "cat/a\\n1.jpg")
    assert _opened(shown.pictures[0]).size == (SIDE, SIDE)


def test_a_mistake_stands_beside_its_heatmap(tmp_path: Path, tiny_models: Path) -> None:
    model = open_model(tiny_models)
    (shown,) = of_mistakes(model, [Mistake(_photo(tmp_path / "not_hotdog" / "1.jpg"), 0.9876)])
    assert shown.caption == "not_hotdog, answered 0.988"
    photo, evidence = (np.asarray(_opened(picture), int) for picture in shown.pictures)
    assert photo.shape == evidence.shape == (SIDE, SIDE, 3)
    assert np.abs(photo - evidence).max() > 50
    assert of_mistakes(model, []) == []


def _findings(contradictions: list[list[Path]], leaks: list[list[Path]], duplicates: list[list[Path]]) -> Findings:
    left_out = {path: "why" for group in duplicates + leaks for path in group[1:]}
    left_out |= {path: "why" for group in contradictions for path in group}
    return Findings({}, {}, duplicates, contradictions, leaks, [], [], left_out, {})


def test_the_worst_groups_come_first(tmp_path: Path) -> None:
    one, other = _photo(tmp_path / "cat" / "1.jpg"), _photo(tmp_path / "dog" / "2.jpg")
    groups = of_same_pictures(_findings([[one, other]], [[other, one]], [[one, one]] * GROUPS))
    assert len(groups) == GROUPS
    assert [kind for kind, _ in groups[:3]] == [
        "One picture under both labels",
        "One picture for training and held out",
        "One picture more than once",
    ]
    assert [(each.caption, each.name) for each in groups[0][1]] == [
        ("left out", "cat/1.jpg"),
        ("left out", "dog/2.jpg"),
    ]


def test_the_one_to_keep_stays_in(tmp_path: Path) -> None:
    photos = [_photo(tmp_path / "cat" / f"{number}.jpg") for number in range(9)]
    ((_, shown),) = of_same_pictures(_findings([], [], [photos]))
    assert [each.caption for each in shown] == ["kept"] + ["left out"] * 5, "six photos of a large group are shown"
