"""A training folder is understood, or refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import SeeFoodError
from tests.fixtures.drawing import draw_folder
from training.folders import labelled, leave_out, scan, split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "photos", each=33)


def test_two_classes_are_found(folder: Path) -> None:
    photos = scan(folder)
    assert (photos.positive, photos.negative, len(photos)) == ("hotdog", "not_hotdog", 66)
    assert {path.parent.name for path, target in zip(photos.paths, photos.targets, strict=True) if target} == {"hotdog"}
    assert photos.targets.sum() == 33


def test_the_positive_class_can_be_named(folder: Path) -> None:
    assert scan(folder, "not_hotdog").positive == "not_hotdog"


def test_other_classes_need_a_name(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "pets", ("cat", "dog"), each=32)
    assert scan(folder, "dog").negative == "cat"
    with pytest.raises(SeeFoodError, match="has no class 'hotdog'; say which one is positive with --positive cat or"):
        scan(folder)
    with pytest.raises(SeeFoodError, match="has no class 'cow'; its classes are cat and dog"):
        scan(folder, "cow")


def test_a_label_that_is_a_field_of_the_answer_is_refused(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", ("label", "other"), each=32)
    with pytest.raises(SeeFoodError, match="can't be named 'label'"):
        scan(folder, "label")


def test_hidden_and_other_files_do_not_count(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / "README.txt").touch()
    (folder / "hotdog" / "notes.txt").touch()
    (folder / "hotdog" / ".hidden.jpg").touch()
    assert len(scan(folder)) == 66


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("missing", "can't be read as a folder: No such file or directory."),
        ("file", "can't be read as a folder: Not a directory."),
        ("empty", "must have exactly two subfolders, one for each class; found: none."),
        ("one class", "must have exactly two subfolders, one for each class; found: hotdog."),
        ("three classes", "must have exactly two subfolders, one for each class; found: hotdog, not_hotdog, pizza."),
        ("no photos", "has 0 photos of hotdog and 0 of not_hotdog; training needs at least 32 of each."),
        ("few photos", "has 31 photos of hotdog and 33 of not_hotdog; training needs at least 32 of each."),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_a_sentence(folder: Path, change: str, sentence: str) -> None:
    if change == "missing":
        folder = folder / "nowhere"
    elif change == "file":
        folder = folder / "hotdog" / "000.jpg"
    elif change == "three classes":
        (folder / "pizza").mkdir()
    else:
        unwanted = {"empty": "**/*", "one class": "not_*", "no photos": "*/*.jpg", "few photos": "hotdog/00[01].jpg"}
        for path in sorted(folder.glob(unwanted[change]), reverse=True):
            if path.is_dir():
                for inner in path.iterdir():
                    inner.unlink()
                path.rmdir()
            else:
                path.unlink()
    with pytest.raises(SeeFoodError) as caught:
        scan(folder)
    assert str(caught.value) == f"{folder} {sentence}"


def test_photos_are_left_out(folder: Path) -> None:
    photos = scan(folder)
    kept = leave_out(photos, {photos.paths[0]: "It is broken."})
    assert kept.paths == photos.paths[1:]
    assert kept.targets.sum() == 32


def test_too_few_that_remain_are_a_sentence(folder: Path) -> None:
    photos = scan(folder)
    with pytest.raises(SeeFoodError, match=r"2 photos must be left out, .*000\.jpg the first of them; there remain 31"):
        leave_out(photos, dict.fromkeys(photos.paths[:2], "It is broken."))


def test_the_split_is_stratified_seeded_and_complete(folder: Path) -> None:
    photos = scan(folder)
    training, validation = split(photos, seed=3)
    assert set(training.paths) | set(validation.paths) == set(photos.paths)
    assert not set(training.paths) & set(validation.paths)
    assert validation.targets.mean() == pytest.approx(0.5, abs=0.05)
    assert split(photos, seed=3)[1].paths == validation.paths
    assert split(photos, seed=4)[1].paths != validation.paths


def test_the_digest_follows_content_and_label_alone(folder: Path, tmp_path: Path) -> None:
    photos = scan(folder)
    renamed = draw_folder(tmp_path / "again", each=33)
    (renamed / "hotdog" / "000.jpg").rename(renamed / "hotdog" / "zzz.jpg")
    assert scan(renamed).digest() == photos.digest()
    (renamed / "hotdog" / "zzz.jpg").rename(renamed / "not_hotdog" / "zzz.jpg")
    assert scan(renamed, "hotdog").take(range(64)).digest() != photos.digest()


def test_a_folder_to_evaluate_may_lack_a_class(folder: Path) -> None:
    for path in (folder / "hotdog").iterdir():
        path.unlink()
    (folder / "hotdog").rmdir()
    photos = labelled(folder, "hotdog", "not_hotdog")
    assert (len(photos), photos.targets.sum()) == (33, 0)


@pytest.mark.parametrize(("add", "found"), [("pizza", "hotdog, not_hotdog, pizza"), (None, "none")])
def test_a_folder_to_evaluate_has_the_models_labels(folder: Path, add: str | None, found: str) -> None:
    if add:
        (folder / add).mkdir()
    else:
        folder = folder / "hotdog"
    with pytest.raises(SeeFoodError, match=f"must have subfolders named hotdog, not_hotdog or both; found: {found}"):
        labelled(folder, "hotdog", "not_hotdog")


def test_photos_stay_in_step_when_taken(folder: Path) -> None:
    photos = scan(folder).take([65, 0])
    assert [path.parent.name for path in photos.paths] == ["not_hotdog", "hotdog"]
    assert np.array_equal(photos.targets, [0, 1])
