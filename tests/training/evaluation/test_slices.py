"""Photos are grouped by manifest, subfolder and file name."""

import logging
from pathlib import Path

import numpy as np
import pytest

from training.data.photos import Photos, find_labelled
from training.evaluation.slices import find_slices


def _photos(folder: Path, names: dict[str, list[str]]) -> Photos:
    for label, files in names.items():
        for name in files:
            (folder / label / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / label / name).touch()
    return find_labelled(folder, "cat", "dog")


def _manifest(folder: Path, photos: Photos, source: dict[int, str]) -> None:
    rows = [f"{photos.paths[i].relative_to(folder)},{source.get(i, 'web')}" for i in range(len(photos))]
    (folder / "MANIFEST.csv").write_text("\n".join(["path,source", *rows]) + "\n", encoding="utf-8-sig")


def _counts(photos: Photos) -> dict[str, dict[str, int]]:
    return {by: {name: len(part) for name, part in parts.items()} for by, parts in find_slices(photos).items()}


def test_the_kind_stands_before_the_first_dash(tmp_path: Path) -> None:
    names = [f"pie-of-apples-{i}.jpg" for i in range(10)] + [f"ribs-{i}.jpg" for i in range(9)] + ["7.jpg", "-8.jpg"]
    photos = _photos(tmp_path, {"cat": [], "dog": names})
    assert _counts(photos) == {"kind": {"pie": 10}}, "nine photos are too few for a slice"
    assert {photos.paths[i].name for i in find_slices(photos)["kind"]["pie"]} == set(names[:10])


def test_a_subfolder_of_the_class_folder_is_the_kind(tmp_path: Path) -> None:
    files = [f"siamese/deep/x-{i}.jpg" for i in range(12)] + [f"persian/{i}.jpg" for i in range(11)]
    photos = _photos(tmp_path, {"cat": files, "dog": ["1.jpg"]})
    assert _counts(photos) == {"kind": {"persian": 11, "siamese": 12}}


def test_a_kind_has_both_classes_where_its_name_does(tmp_path: Path) -> None:
    names = [f"indoors-{i}.jpg" for i in range(5)] + ["street-1.jpg"]
    photos = _photos(tmp_path, {"cat": names, "dog": names})
    assert _counts(photos) == {"kind": {"indoors": 10}}
    assert sum(photos.targets[find_slices(photos)["kind"]["indoors"]]) == 5


@pytest.mark.parametrize("above", [".", "a", "a/b/c/d"])
def test_the_source_stands_in_a_manifest_above(tmp_path: Path, above: str) -> None:
    photos = _photos(tmp_path / above, {"cat": [f"{i}.jpg" for i in range(25)]})
    _manifest(tmp_path, photos, {**dict.fromkeys(range(12), "phone"), 24: "scan"})
    assert _counts(photos) == {"source": {"phone": 12, "web": 12}}


def test_a_manifest_further_up_is_ignored(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "a/b/c/d/e", {"cat": [f"{i}.jpg" for i in range(25)]})
    _manifest(tmp_path, photos, dict.fromkeys(range(12), "phone"))
    assert _counts(photos) == {}


def test_links_and_relative_paths_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = _photos(tmp_path / "set", {"cat": [f"{i}.jpg" for i in range(25)]})
    _manifest(tmp_path, photos, dict.fromkeys(range(12), "phone"))
    (tmp_path / "link").symlink_to("set")
    monkeypatch.chdir(tmp_path / "set" / "cat")
    for way in (Path(".."), Path("../../set/../set"), tmp_path / "link"):
        assert _counts(find_labelled(way, "cat", "dog")) == {"source": {"phone": 12, "web": 13}}


def test_a_slice_of_all_photos_is_omitted(tmp_path: Path) -> None:
    photos = _photos(tmp_path, {"cat": [f"indoors-{i}.jpg" for i in range(25)]})
    _manifest(tmp_path, photos, {})
    assert find_slices(photos) == {}


def test_a_class_named_like_a_folder_above_is_found(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "cat" / "photos", {"cat": [f"a-{i}.jpg" for i in range(10)], "dog": ["b-1.jpg"]})
    assert _counts(photos) == {"kind": {"a": 10}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"path,label\n1.jpg,cat\n", "it has no column source"),
        (b"path,source\ncat/1.jpg\n", "a line has too few columns"),
        (b'path,source\n"cat/1.jpg,web\n', "unexpected end of data"),
        (b"path,source\ncat/\xff.jpg,web\n", "can't decode byte"),
        (b"\x89PNG\r\n\x1a\n\0\0", "can't decode byte"),
    ],
)
def test_a_damaged_manifest_is_a_sentence(
    tmp_path: Path, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    photos = _photos(tmp_path, {"cat": [f"a-{i}.jpg" for i in range(10)], "dog": ["1.jpg"]})
    (tmp_path / "MANIFEST.csv").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert _counts(photos) == {"kind": {"a": 10}}
    (record,) = caplog.records
    assert record.getMessage().startswith(f"The sources in {tmp_path / 'MANIFEST.csv'} are ignored: ")
    assert reason in record.getMessage()


def test_a_folder_in_place_of_the_manifest_is_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = _photos(tmp_path, {"cat": ["1.jpg"]})
    (tmp_path / "MANIFEST.csv").mkdir()
    assert find_slices(photos) == {}
    assert len(caplog.records) == 1


def test_no_photos_have_no_slices() -> None:
    assert find_slices(Photos((), np.zeros(0, np.float32), "cat", "dog")) == {}


def test_a_source_may_be_a_url(tmp_path: Path) -> None:
    photos = _photos(tmp_path, {"cat": [f"{i}.jpg" for i in range(25)]})
    _manifest(tmp_path, photos, dict.fromkeys(range(12), "https://example.org/photos/"))
    assert _counts(photos) == {"source": {"https://example.org/photos/": 12, "web": 13}}
