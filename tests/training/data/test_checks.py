"""Facts about photos are cached by content; the checks find problems in a folder, and change nothing."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from service.decoder_pool import DecodeTimeout
from service.decoders import DecoderCrash, Decoders
from service.errors import SeeFoodError
from service.photo import PhotoError
from tests.fixtures.clouds import two_clouds
from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw, draw_folder, encode
from training.data import checks
from training.data.cache import Cache
from training.data.checks import (
    Findings,
    LabelIssue,
    check_photos,
    find_label_issues,
    group_near,
    issues_as_json,
    read_photo_info,
)
from training.data.photos import Photos, find_photos_to_train
from training.model.classifier import out_of_fold_probabilities

BITS = 6


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("clean") / "photos", each=100)


def _check(photos: Photos) -> Findings:
    return check_photos(photos, [], Cache(None))


def test_pictures_that_differ_are_no_doubles(clean: Path) -> None:
    findings = _check(find_photos_to_train(clean))
    assert findings.photos == {"hotdog": 100, "not_hotdog": 100}
    assert all(not paths for paths in findings.by_kind().values())
    assert findings.left_out == {}


def test_copies_are_found_however_they_were_saved(folder: Path) -> None:
    original = folder / "hotdog" / "000.jpg"
    picture = Image.open(original)
    (folder / "hotdog" / "copy.jpg").write_bytes(original.read_bytes())
    picture.save(folder / "hotdog" / "saved-again.jpg", quality=40)
    picture.resize((320, 260)).save(folder / "hotdog" / "enlarged.png")
    findings = _check(find_photos_to_train(folder))
    names = ("000.jpg", "copy.jpg", "enlarged.png", "saved-again.jpg")
    assert findings.duplicates == [[folder / "hotdog" / name for name in names]]
    assert set(findings.left_out) == set(findings.duplicates[0][1:])
    assert set(findings.left_out.values()) == {f"It shows the same picture as {original}."}


def test_one_picture_under_both_labels_is_left_out_twice(folder: Path) -> None:
    yes, no = folder / "hotdog" / "003.jpg", folder / "not_hotdog" / "z.jpg"
    no.write_bytes(yes.read_bytes())
    findings = _check(find_photos_to_train(folder))
    assert findings.duplicates == []
    assert findings.contradictions == [[yes, no]]
    assert findings.left_out == {
        yes: f"It shows the same picture as {no}, of the other class.",
        no: f"It shows the same picture as {yes}, of the other class.",
    }


def test_a_photo_that_is_held_out_is_not_trained_on(folder: Path, tmp_path: Path) -> None:
    draw_folder(tmp_path / "val", each=0)
    draw_folder(tmp_path / "test", each=0)
    trained_on = find_photos_to_train(folder)
    copies = {name: tmp_path / name / "hotdog" / "copy.png" for name in ("val", "test")}
    for number, name in ((3, "val"), (5, "test"), (7, "val"), (7, "test")):
        target = copies[name].with_stem(f"copy{number}")
        Image.open(trained_on.paths[number]).save(target)
    validation, test = (sorted((tmp_path / name).rglob("*.png")) for name in ("val", "test"))
    findings = check_photos(trained_on, [validation, test], Cache(None))
    assert {path: reason.split()[-5] for path, reason in findings.left_out.items()} == {
        trained_on.paths[3]: f"{validation[0]},",
        trained_on.paths[5]: f"{test[0]},",
        trained_on.paths[7]: f"{test[1]},",
        validation[1]: f"{test[1]},",
    }
    assert sorted(map(len, findings.leaks)) == [2, 2, 3]
    assert findings.duplicates == []


def test_damaged_small_and_blank_files_are_found(folder: Path) -> None:
    hotdogs = folder / "hotdog"
    (hotdogs / "text.jpg").write_text("not a photo")
    (hotdogs / "truncated.jpg").write_bytes((hotdogs / "000.jpg").read_bytes()[:800])
    (hotdogs / "small.png").write_bytes(encode(draw("hotdog", 900, (60, 40)), "PNG"))
    for name in ("blank1.png", "blank2.png"):
        (hotdogs / name).write_bytes(encode(Image.new("RGB", (90, 91 + len(name)), "grey"), "PNG"))
    (hotdogs / "blank2.png").write_bytes(encode(Image.new("RGB", (90, 80), "white"), "PNG"))
    findings = _check(find_photos_to_train(folder))
    assert set(findings.unreadable) == {hotdogs / "text.jpg", hotdogs / "truncated.jpg"}
    assert findings.small == [hotdogs / "small.png"]
    assert findings.blank == [hotdogs / "blank1.png", hotdogs / "blank2.png"]
    assert findings.duplicates == [], "two blank photos are not the same picture"
    assert set(findings.left_out) == set(findings.unreadable)


def test_the_check_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.jpg")}
    _check(find_photos_to_train(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_command_prints_what_it_found(folder: Path, tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(folder / "hotdog") + b"/new\nline \xff.jpg"))
    strange.write_text("not a photo")
    table = seefood(tmp_path / "models", "check", folder)
    assert table.exit_code == 0
    assert "     34 photos of hotdog" in table.stdout
    assert "      1 can't be read" in table.stdout
    assert "/new\\nline \\xff.jpg: The bytes are not a photo" in table.stdout
    as_json = seefood(tmp_path / "models", "check", folder, "--json")
    assert json.loads(as_json.stdout)["photos"] == {"hotdog": 34, "not_hotdog": 33}
    assert not (tmp_path / "models").exists()


def test_facts_are_cached_by_content(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache.sqlite")
    paths = find_photos_to_train(folder).paths
    first = list(read_photo_info(paths, cache))
    monkeypatch.setattr(Decoders, "grey", None)  # decoding a photo again would fail
    renamed = [path.rename(path.with_name(f"renamed-{path.name}")) for path in paths]
    assert list(read_photo_info(renamed, cache)) == first


@pytest.mark.parametrize("failure", [DecoderCrash, DecodeTimeout])
def test_a_failure_of_the_moment_is_not_cached(
    failure: type[PhotoError], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure("The machine was busy.")

    cache, paths = Cache(tmp_path / "cache.sqlite"), [folder / "hotdog" / "000.jpg"]
    with monkeypatch.context() as patch:
        patch.setattr(Decoders, "grey", fail)
        (info,) = read_photo_info(paths, cache)
    assert info.error == "The machine was busy."
    (info,) = read_photo_info(paths, cache)
    assert info.error is None


def test_a_damaged_cache_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    path.write_text("this is not a database, but it is as long as one" * 20)
    with pytest.raises(SeeFoodError, match=r"cache\.sqlite can't be used \(.*\); delete it"):
        list(read_photo_info(find_photos_to_train(folder).paths, Cache(path)))


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    (info,) = read_photo_info([tmp_path / "gone.jpg"], Cache(None))
    assert info.error == "The file can't be read: No such file or directory."


def _flipped(hashes: npt.NDArray[np.uint64], bits: int, chance: np.random.Generator) -> npt.NDArray[np.uint64]:
    """Return the hashes, uint64 [N], with exactly `bits` bits of each flipped."""
    places = np.argsort(chance.random((len(hashes), 64)))[:, :bits].astype(np.uint64)
    turned: npt.NDArray[np.uint64] = np.bitwise_or.reduce(np.uint64(1) << places, axis=1)
    return hashes ^ turned


def _by_every_pair(hashes: npt.NDArray[np.uint64]) -> set[frozenset[int]]:
    joined = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= BITS
    groups = [frozenset([i]) for i in range(len(hashes))]
    for i, j in np.argwhere(joined):
        together = groups[i] | groups[j]
        for member in together:
            groups[member] = together
    return set(groups)


def _groups(hashes: npt.NDArray[np.uint64]) -> set[frozenset[int]]:
    labels = group_near(hashes, BITS)
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


@pytest.mark.parametrize("max_pairs", [10, 1_000_000])
def test_the_groups_are_those_of_every_pair(max_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_BLOCK", 3)
    monkeypatch.setattr(checks, "_MAX_PAIRS", max_pairs)
    chance = np.random.default_rng(0)
    some = chance.integers(0, 2**64, 60, dtype=np.uint64)
    crowd = _flipped(np.repeat(some[:1], 40), 4, chance)  # a chain: some pairs are not near
    hashes = np.concatenate([some, crowd, *(_flipped(some[20:], bits, chance) for bits in (0, 5, BITS, BITS + 1))])
    expected = _by_every_pair(hashes)
    assert 20 < len(expected) < 110, "some hashes are grouped, and some are not"
    assert _groups(hashes) == expected


@pytest.mark.parametrize(("bits", "numbers"), [(BITS, 200), (BITS + 1, 400)])
def test_the_limit_is_exact(bits: int, numbers: int) -> None:
    chance = np.random.default_rng(1)
    some = chance.integers(0, 2**64, 200, dtype=np.uint64)
    labels = group_near(np.concatenate([some, _flipped(some, bits, chance)]), BITS)
    assert len(set(labels.tolist())) == numbers


@pytest.mark.parametrize("count", [0, 1])
def test_few_hashes_have_few_numbers(count: int) -> None:
    assert group_near(np.zeros(count, np.uint64), BITS).tolist() == [0] * count


def test_swapped_labels_are_found_first() -> None:
    features, targets = two_clouds(400)
    swapped = np.random.default_rng(2).choice(400, 12, replace=False)
    wrong = targets.copy()
    wrong[swapped] = 1 - wrong[swapped]
    photos = Photos(tuple(Path(str(i)) for i in range(400)), wrong, "yes", "no")
    issues = find_label_issues(photos, out_of_fold_probabilities(features, wrong))
    assert len({int(str(issue.path)) for issue in issues[:12]} & set(swapped.tolist())) >= 10
    assert [issue.quality for issue in issues] == sorted(issue.quality for issue in issues)
    worst = issues[0]
    assert worst.label == ("yes" if wrong[int(str(worst.path))] else "no")


def test_a_name_that_is_not_utf8_is_escaped_in_json() -> None:
    (issue,) = issues_as_json([LabelIssue(Path("\udcff.jpg"), "hotdog", 0.1)])
    assert issue["photo"] == "\\xff.jpg"
