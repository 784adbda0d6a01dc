"""The cache computes only what it does not have."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from service.errors import SeeFoodError
from training.data import cache
from training.data.cache import Cache
from training.model.classifier import Array


def test_only_missing_rows_are_computed(tmp_path: Path) -> None:
    asked = []

    def compute(positions: list[int]) -> Array:
        asked.append(positions)
        return np.array([[position, 7] for position in positions], np.float32)

    path = tmp_path / "cache.sqlite"
    Cache(path).rows("one", ["a", "b"], compute)
    assert Cache(path).rows("one", ["b", "c", "a"], compute).tolist() == [[1, 7], [1, 7], [0, 7]]
    assert asked == [[0, 1], [1]]
    Cache(path).rows("another", ["a"], compute)
    assert asked[2:] == [[0]], "a namespace has rows of its own"


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Cache(None).put("one", {"a": b"value"})
    assert Cache(None).get("one", ["a"]) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "use", [lambda cache: cache.get("one", ["a"]), lambda cache: cache.put("one", {"a": b"value"})]
)
def test_a_damaged_cache_is_a_sentence(use: Callable[[Cache], object], tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is not a database" * 50)
    with pytest.raises(SeeFoodError, match=r"cache\.sqlite can't be used .*; delete it\.$"):
        use(Cache(path))


def test_a_cache_that_another_command_writes_is_not_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache.sqlite"
    monkeypatch.setattr(cache, "_TIMEOUT", 0)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            SeeFoodError, match=r"\(database is locked\); try again when the other command has ended\.$"
        ):
            Cache(path).put("one", {"a": b"value"})
