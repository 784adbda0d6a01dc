"""Facts about photos are cached by content."""

from pathlib import Path

import pytest

from service.decoders import Decoders
from service.errors import SeeFoodError
from training.data.cache import Cache
from training.data.photo_info import read_photo_info
from training.data.photos import find_photos_to_train


def test_facts_are_cached_by_content(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    paths = find_photos_to_train(folder).paths
    first = list(read_photo_info(paths, cache))
    monkeypatch.setattr(Decoders, "grey", None)  # decoding a photo again would fail
    renamed = [path.rename(path.with_name(f"renamed-{path.name}")) for path in paths]
    assert list(read_photo_info(renamed, cache)) == first


def test_a_damaged_cache_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_text("this is not a database, but it is as long as one" * 20)
    with pytest.raises(SeeFoodError, match=r"cache\.sqlite can't be used \(.*\); delete it"):
        list(read_photo_info(find_photos_to_train(folder).paths, Cache(path)))


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    (info,) = read_photo_info([tmp_path / "gone.jpg"], Cache(None))
    assert info.error == "The file can't be read: No such file or directory."
