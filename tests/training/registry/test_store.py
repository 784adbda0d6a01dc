"""Each run has a folder of its own; versions are added and promoted atomically."""

import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import SeeFoodError
from service.registry import current_version, find_model, version_of
from tests.fixtures.versions import add_version
from training.registry.store import (
    HISTORY,
    LOCK,
    METRICS,
    check_writable,
    new_run,
    new_version,
    promote,
    rollback,
    versions,
)


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        names = set(pool.map(new_run, [tmp_path] * 3))
    assert len(names) == 3
    assert {path.name for path in (tmp_path / ".runs").iterdir()} == names


def test_the_first_version_is_current_and_later_ones_wait(tmp_path: Path) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")
    assert [(version.name, version.pointers) for version in versions(tmp_path)] == [("1", ("current",)), ("2", ())]
    promote(tmp_path, "2", "better")
    assert current_version(tmp_path) == "2"
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "current", HISTORY, LOCK}


def test_promotions_at_once_are_all_in_the_history(tmp_path: Path) -> None:
    names = [str(number) for number in range(8)]
    for name in names:
        add_version(tmp_path, name)
    asked = names * 8
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: promote(tmp_path, name, "better"), asked))
    entries = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert Counter(entry["version"] for entry in entries[1:]) == Counter(asked)
    assert current_version(tmp_path) == entries[-1]["version"]
    assert [entry["before"] for entry in entries[1:]] == [entry["version"] for entry in entries[:-1]]


def test_rollback_goes_back_step_by_step(tmp_path: Path) -> None:
    add_version(tmp_path, "1")
    for name in ("2", "3"):
        add_version(tmp_path, name)
        promote(tmp_path, name, "better")
    assert (rollback(tmp_path), current_version(tmp_path)) == ("2", "2")
    assert rollback(tmp_path) == "1"
    promote(tmp_path, "3", "better after all")
    assert rollback(tmp_path) == "1"
    with pytest.raises(SeeFoodError, match="has no version that was current before 1; promote one by name"):
        rollback(tmp_path)
    history = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert [entry["why"] for entry in history][-2:] == ["better after all", "back from 3"]


def test_the_pointers_move_and_go_back_apart(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        add_version(tmp_path, name)
    promote(tmp_path, "1", "small", "phone")
    assert [version.pointers for version in versions(tmp_path)] == [("current", "phone"), (), ()]
    promote(tmp_path, "2", "smaller", "phone")
    promote(tmp_path, "3", "better")
    promote(tmp_path, "3", "smaller still", "phone")
    assert (rollback(tmp_path, "phone"), current_version(tmp_path)) == ("2", "3")
    assert (rollback(tmp_path), version_of(tmp_path, "phone")) == ("1", "2")
    assert rollback(tmp_path, "phone") == "1"
    with pytest.raises(SeeFoodError, match="has no version that was phone before 1; promote one by name"):
        rollback(tmp_path, "phone")
    history = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert [entry["pointer"] for entry in history if entry["action"] == "rollback"] == ["phone", "current", "phone"]
    assert history[1]["before"] == ""


def test_a_history_from_before_the_second_pointer_is_of_the_current_one(tmp_path: Path) -> None:
    for name in ("1", "2"):
        add_version(tmp_path, name)
    promote(tmp_path, "2", "better")
    path = tmp_path / HISTORY
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in e.items() if k != "pointer"}) + "\n" for e in entries))
    promote(tmp_path, "2", "small", "phone")
    assert (rollback(tmp_path), version_of(tmp_path, "phone")) == ("1", "2")


def test_a_pointer_is_found_by_its_name(tmp_path: Path) -> None:
    for name in ("1", "2"):
        add_version(tmp_path, name, "model.onnx")
    sentence = f"{tmp_path} names no phone model; name one with seefood models promote VERSION --as phone."
    for attempt in (lambda: find_model(tmp_path, "phone", "float32"), lambda: rollback(tmp_path, "phone")):
        with pytest.raises(SeeFoodError) as caught:
            attempt()
        assert str(caught.value) == sentence
    promote(tmp_path, "2", "small", "phone")
    assert find_model(tmp_path, "phone", "float32") == tmp_path / "2" / "model.onnx"
    assert find_model(tmp_path, "current", "float32") == find_model(tmp_path, "", "float32")
    assert find_model(tmp_path, "", "float32") == tmp_path / "1" / "model.onnx"


def test_a_failed_switch_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")

    def fail(*_: object) -> None:
        raise OSError("the disk failed")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(SeeFoodError, match="can't be used: the disk failed"):
        promote(tmp_path, "2", "better")
    assert current_version(tmp_path) == "1"
    assert {path.name for path in tmp_path.glob(".*")} == {LOCK}, "temporary files are removed"


@pytest.mark.parametrize("error", [SeeFoodError("gate"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), new_version(tmp_path, "1") as draft:
        (draft / "half").touch()
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_not_there_is_not_promoted(tmp_path: Path) -> None:
    add_version(tmp_path, "1")
    with pytest.raises(SeeFoodError, match="There is no version 2 in"):
        promote(tmp_path, "2", "better")
    assert current_version(tmp_path) == "1"


def test_a_registry_of_nothing(tmp_path: Path) -> None:
    assert versions(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [b"{", b"", b"[]", b"{}", b"\xff", b'{"validation": {"accuracy": {"value": "high"}}}', b'{"validation": 1}'],
)
def test_damaged_metrics_are_a_sentence(tmp_path: Path, damage: bytes) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")
    (tmp_path / "2" / METRICS).write_bytes(damage)
    with pytest.raises(SeeFoodError, match=r"2/metrics\.json can't be read: .*; restore that file, or remove"):
        versions(tmp_path)
    promote(tmp_path, "2", "its figures are not what is served")
    assert current_version(tmp_path) == "2"


@pytest.mark.parametrize("damage", ["{", "[]\n", '{"version": "1"}\n', "7\n"])
def test_a_damaged_history_is_a_sentence(tmp_path: Path, damage: str) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")
    (tmp_path / HISTORY).write_text(damage)
    for attempt in (rollback, lambda models: promote(models, "2", "better")):
        with pytest.raises(SeeFoodError, match=r"history\.jsonl can't be read: .*; repair it, or remove it\."):
            attempt(tmp_path)
    assert current_version(tmp_path) == "1"


def test_a_rollback_skips_an_unfinished_promotion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1", "2", "3"):
        add_version(tmp_path, name)
    promote(tmp_path, "2", "better")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("training.registry.store._replace", _only_history)
        promote(tmp_path, "3", "better still")
    assert current_version(tmp_path) == "2"
    assert rollback(tmp_path) == "1"


def test_a_first_promotion_that_never_came_leaves_no_pointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1", "2"):
        add_version(tmp_path, name)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("training.registry.store._replace", _only_history)
        promote(tmp_path, "1", "small", "phone")
    promote(tmp_path, "2", "smaller", "phone")
    with pytest.raises(SeeFoodError, match="has no version that was phone before 2"):
        rollback(tmp_path, "phone")
    assert current_version(tmp_path) == "1"


def _only_history(path: Path, text: str) -> None:
    if path.name != HISTORY:
        raise KeyboardInterrupt
    path.write_text(text)


def test_the_current_version_may_be_gone(tmp_path: Path) -> None:
    add_version(tmp_path, "1")
    add_version(tmp_path, "2")
    shutil.rmtree(tmp_path / "1")
    assert [(version.name, version.pointers) for version in versions(tmp_path)] == [("2", ())]
    with pytest.raises(SeeFoodError, match=r"There is no model file .*/1/model\.onnx; `seefood models` lists"):
        find_model(tmp_path, "", "float32")
    add_version(tmp_path, "3")
    assert current_version(tmp_path) == "1", "only a user chooses another version"
    promote(tmp_path, "3", "the other one is gone")
    assert current_version(tmp_path) == "3"


def test_a_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("output", ["a-file/models", "/proc/models"])
def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path: Path, output: str) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(SeeFoodError, match=r"The output folder .*/models can't be used: "):
        check_writable(tmp_path / output)
