"""The split depends on the content of the photos only."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from service.errors import SeeFoodError
from tests.fixtures.drawing import draw_folder
from training.data.folders import find_photos_to_train
from training.data.photos import VALIDATION_FRACTION, Photos, leave_out, shuffle, split


def test_photos_are_left_out(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    kept = leave_out(photos, {photos.paths[0]: "It is broken."})
    assert kept.paths == photos.paths[1:]
    assert kept.targets.sum() == 32


def test_too_few_that_remain_are_a_sentence(folder: Path) -> None:
    photos = find_photos_to_train(folder)
    with pytest.raises(SeeFoodError, match=r"2 photos must be left out, .*000\.jpg, which leaves 31"):
        leave_out(photos, dict.fromkeys(photos.paths[:2], "It is broken."))


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
