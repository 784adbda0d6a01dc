"""A training folder is read, or refused with one sentence; the split depends on the content of the photos only."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from service.errors import SeeFoodError
from tests.fixtures.drawing import draw_folder
from training.data.photos import (
    VALIDATION_FRACTION,
    Photos,
    find_labelled,
    find_photos_to_train,
    gather,
    leave_out,
    shuffle,
    split,
)


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
    with pytest.raises(SeeFoodError, match="so its other subfolders can only be val and test; move or rename"):
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


def test_extra_photos_repair_a_folder_that_is_too_small(tmp_path: Path) -> None:
    folder, few = draw_folder(tmp_path / "photos", each=20), draw_folder(tmp_path / "few", each=11, first=100)
    with pytest.raises(SeeFoodError, match="photos has 20 photos of hotdog and 20 of not_hotdog; at least 32 of each"):
        gather(folder)
    with pytest.raises(SeeFoodError, match="photos and the extra folders have 31 photos of hotdog and 31 of not_hotdo"):
        gather(folder, extras=[few])
    enough = draw_folder(tmp_path / "enough", each=12, first=100)
    assert gather(folder, extras=[enough]).photos.counts() == (32, 32)


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


def test_photos_are_left_out(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    kept = leave_out(photos, {photos.paths[0]: "It is broken."})
    assert kept.paths == photos.paths[1:]
    assert kept.targets.sum() == 32


def test_too_few_that_remain_are_a_sentence(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    with pytest.raises(SeeFoodError, match=r"2 photos must be left out, .*000\.jpg, which leaves 31"):
        leave_out(photos, dict.fromkeys(photos.paths[:2], "It is broken."))


def test_too_few_without_any_that_is_left_out_are_a_sentence(folder: Path) -> None:
    photos = find_photos_to_train(folder).first(60)
    with pytest.raises(SeeFoodError) as caught:
        leave_out(photos, {})
    assert str(caught.value) == "There are 33 photos of hotdog and 27 of not_hotdog; at least 32 of each are needed."


def _digests(photos: Photos) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in photos.paths}


def test_the_split_is_complete_seeded_and_of_both_classes(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    digests = _digests(photos)
    training, validation = split(photos, digests, seed=3)
    assert set(training.paths) | set(validation.paths) == set(photos.paths)
    assert not set(training.paths) & set(validation.paths)
    for part in (training, validation):
        assert all(path.parent.name == "hotdog" for path in part.take(np.flatnonzero(part.targets)).paths)
        assert min(part.targets.sum(), (1 - part.targets).sum()) >= 4
    assert split(photos, digests, seed=3)[1].paths == validation.paths
    assert split(photos, digests, seed=4)[1].paths != validation.paths


def test_the_split_holds_back_the_stated_share() -> None:
    names = tuple(Path(f"{number}.jpg") for number in range(4000))
    photos = Photos(names, np.repeat(np.array([1, 0], np.float32), 2000), "hotdog", "not_hotdog")
    _, validation = split(photos, {path: path.name for path in names}, seed=0)
    assert len(validation) / 4000 == pytest.approx(VALIDATION_FRACTION, abs=0.02)
    assert validation.targets.mean() == pytest.approx(0.5, abs=0.05)
    assert validation.take(range(100)).targets.mean() == pytest.approx(0.5, abs=0.2), (
        "any first part is a random sample"
    )


def test_a_photo_stays_on_its_side_as_the_folder_grows_and_is_renamed(tmp_path: Path) -> None:
    def sides(folder: Path) -> dict[str, str]:
        photos = find_photos_to_train(folder)
        digests = _digests(photos)
        parts = zip(("fit", "validate"), split(photos, digests, seed=0), strict=True)
        return {digests[path]: name for name, part in parts for path in part.paths}

    small = sides(draw_folder(tmp_path / "small", each=100))
    grown = sides(draw_folder(tmp_path / "renamed", each=140))
    assert len(grown) == 280
    assert all(grown[digest] == side for digest, side in small.items())


def test_shuffled_photos_stay_with_their_labels(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    mixed = shuffle(photos, _digests(photos), seed=0)
    assert sorted(mixed.paths) == sorted(photos.paths)
    assert mixed.paths != photos.paths
    assert [path.parent.name == "hotdog" for path in mixed.paths] == [target == 1 for target in mixed.targets]
    assert mixed.take(range(30)).targets.mean() == pytest.approx(0.5, abs=0.3)


def test_a_sample_has_photos_of_a_rare_class() -> None:
    targets = np.zeros(100, np.float32)
    targets[[5, 70, 80, 90]] = 1
    photos = Photos(tuple(Path(f"{number}.jpg") for number in range(100)), targets, "hotdog", "not_hotdog")
    assert photos.sample(10, 3).paths == photos.take([*range(10), 70, 80]).paths
    assert photos.sample(200, 3).paths == photos.paths
