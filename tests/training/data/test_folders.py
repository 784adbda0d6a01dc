"""A training folder is read, or refused with one sentence."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import SeeFoodError
from tests.fixtures.drawing import draw_folder
from training.data.folders import find_labelled, find_photos_to_train, gather


def test_two_classes_are_found(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    assert (photos.positive, photos.negative, len(photos)) == ("hotdog", "not_hotdog", 66)
    assert {path.parent.name for path, target in zip(photos.paths, photos.targets, strict=True) if target} == {"hotdog"}
    assert photos.targets.sum() == 33


def test_the_positive_class_can_be_named(folder: Path) -> None:
    assert find_photos_to_train(folder, "not_hotdog").positive == "not_hotdog"


def test_other_classes_need_a_name(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "pets", ("cat", "dog"), each=32)
    assert find_photos_to_train(folder, "dog").negative == "cat"
    with pytest.raises(SeeFoodError, match="has no class 'hotdog'; choose the positive class with --positive cat or"):
        find_photos_to_train(folder)
    with pytest.raises(SeeFoodError, match="has no class 'cow'; its classes are cat and dog"):
        find_photos_to_train(folder, "cow")


def test_a_label_that_is_a_field_of_the_answer_is_refused(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", ("label", "other"), each=32)
    with pytest.raises(SeeFoodError, match="can't be named 'label'"):
        find_photos_to_train(folder, "label")


def test_hidden_and_other_files_do_not_count(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / "README.txt").touch()
    (folder / "hotdog" / "notes.txt").touch()
    (folder / "hotdog" / ".hidden.jpg").touch()
    assert len(find_photos_to_train(folder)) == 66


def test_a_folder_that_is_split_already(tmp_path: Path) -> None:
    for part, each in (("train", 33), ("val", 5), ("test", 3)):
        draw_folder(tmp_path / part, each=each)
    data = gather(tmp_path)
    assert len(data.photos) == 66
    assert data.validation is not None
    assert len(data.validation) == 10
    assert data.tests == (tmp_path / "test",)
    assert [len(part) for part in data.held_out()] == [10, 6]
    (tmp_path / "more").mkdir()
    with pytest.raises(SeeFoodError, match="so only val and test can stand beside it; move or rename more"):
        gather(tmp_path)


@pytest.mark.parametrize("given", ["extras", "tests"])
def test_a_folder_is_given_once(folder: Path, given: str) -> None:
    again = folder / "hotdog" / ".."
    with pytest.raises(SeeFoodError, match=r"photos/hotdog/\.\. is given twice; use different folders"):
        gather(folder, **{given: [again]})  # type: ignore[arg-type]


def test_a_validation_folder_needs_both_classes(tmp_path: Path) -> None:
    draw_folder(tmp_path / "train", each=33)
    draw_folder(tmp_path / "val", each=3)
    with pytest.raises(SeeFoodError, match="val has 3 photos of hotdog and 3 of not_hotdog; at least 4 of each"):
        gather(tmp_path)


def test_extra_photos_are_added_of_one_class_or_both(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "extra" / "not_hotdog").mkdir(parents=True)
    for path in (folder / "not_hotdog").iterdir():
        path.rename(tmp_path / "extra" / "not_hotdog" / f"extra-{path.name}")
    draw_folder(tmp_path / "more", each=32)
    (folder / "not_hotdog").rmdir()
    (tmp_path / "more" / "not_hotdog").rename(folder / "not_hotdog")
    data = gather(folder, extras=[tmp_path / "extra", tmp_path / "more"])
    assert data.photos.targets.sum() == 33 + 32
    assert (1 - data.photos.targets).sum() == 32 + 33
    with pytest.raises(SeeFoodError, match="must have subfolders named hotdog, not_hotdog or both"):
        gather(folder, extras=[tmp_path])


def test_the_digest_follows_content_and_label_alone(folder: Path, tmp_path: Path) -> None:
    photos = find_photos_to_train(folder)
    renamed = draw_folder(tmp_path / "again", each=33)
    (renamed / "hotdog" / "000.jpg").rename(renamed / "hotdog" / "zzz.jpg")
    assert find_photos_to_train(renamed).digest() == photos.digest()
    (renamed / "hotdog" / "zzz.jpg").rename(renamed / "not_hotdog" / "zzz.jpg")
    assert find_photos_to_train(renamed, "hotdog").take(range(64)).digest() != photos.digest()


def test_a_folder_to_evaluate_may_lack_a_class(folder: Path) -> None:
    for path in (folder / "hotdog").iterdir():
        path.unlink()
    (folder / "hotdog").rmdir()
    photos = find_labelled(folder, "hotdog", "not_hotdog")
    assert (len(photos), photos.targets.sum()) == (33, 0)


@pytest.mark.parametrize(("add", "found"), [("pizza", "hotdog, not_hotdog, pizza"), (None, "none")])
def test_a_folder_to_evaluate_has_the_models_labels(folder: Path, add: str | None, found: str) -> None:
    if add:
        (folder / add).mkdir()
    else:
        folder = folder / "hotdog"
    with pytest.raises(SeeFoodError, match=f"must have subfolders named hotdog, not_hotdog or both; found: {found}"):
        find_labelled(folder, "hotdog", "not_hotdog")


def test_photos_stay_in_step_when_taken(folder: Path) -> None:
    photos = find_photos_to_train(folder).take([65, 0])
    assert [path.parent.name for path in photos.paths] == ["not_hotdog", "hotdog"]
    assert np.array_equal(photos.targets, [0, 1])
