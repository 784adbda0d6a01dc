"""The label list is validated, and applied by content."""

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from service.errors import SeeFoodError
from tests.conftest import ROOT
from tests.fixtures.drawing import draw_folder
from training.data.label_list import apply_label_list, read_label_list, summarize
from training.data.photos import Photos, find_photos_to_train


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return find_photos_to_train(draw_folder(tmp_path / "photos", each=32))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(folder: Path, *lines: str, heading: str = "sha256,label,reason") -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join([heading, *lines]), encoding="utf-8")
    return path


def test_photos_are_corrected_by_their_content(photos: Photos, tmp_path: Path) -> None:
    other, gone, right = photos.paths[0], photos.paths[1], photos.paths[2]
    moved = other.rename(other.with_name("renamed.png"))
    photos = find_photos_to_train(tmp_path / "photos")
    path = _write(
        tmp_path,
        f"{_digest(moved)},not_hotdog,a burger",
        f"{_digest(gone)},excluded,",
        f"{_digest(right)},hotdog,right already",
        f"{'0' * 64},excluded,not in this folder",
    )
    corrected, changed = apply_label_list(photos, read_label_list(path, "hotdog", "not_hotdog"))
    assert len(corrected) == len(photos) - 1
    assert gone not in corrected.paths
    assert corrected.targets[corrected.paths.index(moved)] == 0
    assert corrected.targets[corrected.paths.index(right)] == 1
    assert {(each.path, each.old_label, each.correction.reason) for each in changed} == {
        (moved, "hotdog", "a burger"),
        (gone, "hotdog", ""),
    }
    assert summarize(changed) == "1 hotdog left out, 1 hotdog to not_hotdog"
    assert summarize([]) == "no label changes"


@pytest.mark.parametrize(
    ("heading", "line", "sentence"),
    [
        ("sha256,reason", f"{'0' * 64},x", r"has no column 'label'; it needs sha256, label and reason\.$"),
        (
            "sha256,label,reason",
            "abc,hotdog,x",
            r"line 2, has 'abc' instead of a SHA-256 of 64 hex digits; correct",
        ),
        ("sha256,label,reason", f"{'0' * 64},burger,x", r"has the label 'burger'; use hotdog, not_hotdog or excluded"),
        ("sha256,label,reason", f"{'0' * 64}", r"line 2, has the label ''"),
        ("sha256,label,reason", f'{"0" * 64},hotdog,"x', r"is not a CSV file in UTF-8"),
        ("", "", r"has no column"),
    ],
)
def test_a_list_that_can_not_be_used_is_a_sentence(heading: str, line: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match=sentence):
        read_label_list(_write(tmp_path, line, heading=heading), "hotdog", "not_hotdog")


def test_two_labels_of_one_photo_are_a_sentence(tmp_path: Path) -> None:
    path = _write(tmp_path, f"{'0' * 64},hotdog,", f"{'0' * 64},excluded,")
    with pytest.raises(SeeFoodError, match=r"line 3, gives the photo 000000000000 a second, different label"):
        read_label_list(path, "hotdog", "not_hotdog")


def test_the_list_of_the_project_is_read_and_counted() -> None:
    folder = ROOT / "labels"
    corrections = read_label_list(folder / "hotdog.csv", "hotdog", "not_hotdog")
    counts = Counter((each.label, each.reason) for each in corrections.values())
    text = (folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (not_hotdog|hotdog|excluded) \| ([a-z ]+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(rows) == len(counts) > 3
    assert {(label, reason): int(count) for label, reason, count in rows} == counts


def test_no_list_and_no_text_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match=r"The label list .*nothing\.csv can't be used: No such file"):
        read_label_list(tmp_path / "nothing.csv", "hotdog", "not_hotdog")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SeeFoodError, match="is not a CSV file in UTF-8"):
        read_label_list(tmp_path / "labels.csv", "hotdog", "not_hotdog")
