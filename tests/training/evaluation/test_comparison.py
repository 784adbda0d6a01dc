"""A candidate is promoted only if it is not significantly worse on all photos and on each slice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from service.errors import SeeFoodError
from service.model import open_model
from service.registry import current_version, version_of
from tests.fixtures.command import seefood
from tests.fixtures.drawing import LABELS, encode
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry
from training.data.photos import find_labelled
from training.evaluation.comparison import Comparison, SlicedComparison, compare, compare_groups, holm


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry whose current version is right for red and blue; `blind` is never positive, `twin` is equal.

    `strict` is positive only for clear red. `lenient` is also positive for a warm grey.
    """
    models = write_tiny_registry(tmp_path / "models")
    for name, metadata in (
        ("blind", replace(METADATA, version="blind", threshold=1.0)),
        ("twin", replace(METADATA, version="twin")),
        ("strict", replace(METADATA, version="strict", threshold=0.6)),
        ("lenient", replace(METADATA, version="lenient", threshold=0.55)),
        ("cats", replace(METADATA, version="cats", positive_label="cat", negative_label="dog")),
    ):
        write_tiny_model(models / name / "model.int8.onnx", metadata.to_properties())
        (models / name / "metrics.json").write_text((models / "tiny" / "metrics.json").read_text())
    return models


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, colour in (("hotdog", "red"), ("not_hotdog", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            data = encode(Image.new("RGB", (20, 20), colour), "PNG")
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(data)
    return tmp_path / "photos"


def _promote(models: Path, *arguments: str | Path) -> Result:
    return seefood(models, "models", "promote", *arguments)


def _why(models: Path) -> str:
    why: str = json.loads((models / "history.jsonl").read_text().splitlines()[-1])["why"]
    return why


def test_a_worse_candidate_is_not_promoted(models: Path, photos: Path) -> None:
    result = _promote(models, "blind", "--test", photos)
    assert result.exit_code == 2
    assert "blind is worse: of 16 photos, only the candidate is right on 0" in result.stderr
    assert current_version(models) == "tiny"


def test_force_overrides_and_is_recorded(models: Path, photos: Path) -> None:
    assert _promote(models, "blind", "--test", photos, "--force").exit_code == 0
    assert current_version(models) == "blind"
    assert _why(models).startswith("forced: of 16 photos, only the candidate is right on 0")
    back = seefood(models, "models", "rollback")
    assert back.exit_code == 2, "the history has no version before"


def test_an_equal_candidate_is_promoted(models: Path, photos: Path) -> None:
    assert _promote(models, "twin", "--test", photos).exit_code == 0
    assert current_version(models) == "twin"
    assert _why(models) == (
        "of 16 photos, only the candidate is right on 0, and only the version in use is right on 0 (p = 1.000)"
    )


def test_without_photos_nothing_is_promoted_unless_forced(models: Path) -> None:
    assert "--test FOLDER, or promote without with --force" in _promote(models, "twin").stderr
    assert current_version(models) == "tiny"
    assert _promote(models, "twin", "--force").exit_code == 0
    assert _why(models) == "forced, without a comparison"


def test_other_labels_cannot_be_compared(models: Path, photos: Path) -> None:
    assert "they can't be compared; promote it with --force" in _promote(models, "cats", "--test", photos).stderr


@pytest.mark.parametrize(
    ("gained", "lost", "worse"),
    [(0, 0, False), (0, 4, False), (0, 5, True), (10, 12, False), (10, 30, True), (9, 2, False)],
)
def test_only_a_difference_beyond_chance_counts(gained: int, lost: int, worse: bool) -> None:
    assert bool(SlicedComparison(Comparison(500, gained, lost)).worse) is worse


def test_the_chance_is_that_of_a_fair_coin() -> None:
    assert Comparison(500, 0, 5).p_worse == pytest.approx(1 / 32)
    assert Comparison(500, 1, 2).p_worse == pytest.approx(4 / 8)
    assert Comparison(500, 0, 0).p_worse == 1


def test_all_folders_count_and_unreadable_photos_do_not(models: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "hotdog" / "broken.jpg").write_bytes(b"broken")
    (tmp_path / "more" / "hotdog").mkdir(parents=True)
    (tmp_path / "more" / "hotdog" / "1.png").write_bytes(encode(Image.new("RGB", (20, 20), "red"), "PNG"))
    sighted, blind = open_model(models), open_model(models, "blind")
    assert compare(sighted, blind, [photos, tmp_path / "more"]) == SlicedComparison(
        Comparison(photos=17, gained=0, lost=9)
    )
    assert compare(blind, sighted, [photos]) == SlicedComparison(Comparison(photos=16, gained=8, lost=0))


def test_groups_are_compared_and_the_photos_that_change_are_named(models: Path, photos: Path, tmp_path: Path) -> None:
    more = tmp_path / "more" / "not_hotdog" / "1.png"
    more.parent.mkdir(parents=True)
    more.write_bytes(encode(Image.new("RGB", (20, 20), "#848080"), "PNG"))
    folders = {"the test": photos, "more": tmp_path / "more"}
    groups = {name: find_labelled(folder, *LABELS) for name, folder in folders.items()}
    result = compare_groups(open_model(models), open_model(models, "blind"), groups)
    assert result == SlicedComparison(
        Comparison(photos=17, gained=1, lost=8),
        (Comparison(photos=16, gained=0, lost=8, part="the test"), Comparison(photos=1, gained=1, lost=0, part="more")),
    )
    assert [each.part for each in result.worse] == ["the test", ""]
    assert [(each.path, each.group, each.label, each.gained) for each in result.changes] == [
        *((photos / "hotdog" / f"{number}.png", "the test", "hotdog", False) for number in range(8)),
        (more, "more", "not_hotdog", True),
    ]
    assert all(each.before == each.after > 0.5 for each in result.changes), "only the threshold differs"


def test_photos_that_cannot_be_read_are_no_comparison(models: Path, tmp_path: Path) -> None:
    (tmp_path / "broken" / "hotdog").mkdir(parents=True)
    (tmp_path / "broken" / "hotdog" / "1.jpg").write_bytes(b"broken")
    with pytest.raises(SeeFoodError, match=r"None of 1 photos can be read; .*\. The reason for .*1\.jpg: "):
        compare(open_model(models), open_model(models, "twin"), [tmp_path / "broken"])


def _strangers(folder: Path, faces: int) -> Path:
    """Write 100 faint hotdogs and some faces of the same warm grey, and 60 blue rooms."""
    data = {colour: encode(Image.new("RGB", (20, 20), colour), "PNG") for colour in ("#848080", "blue")}
    for label, kind, count, colour in (
        ("hotdog", "faint", 100, "#848080"),
        ("not_hotdog", "faces", faces, "#848080"),
        ("not_hotdog", "rooms", 60, "blue"),
    ):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / label / f"{kind}-{number}.png").write_bytes(data[colour])
    return folder


def test_a_better_candidate_that_is_worse_on_one_slice_is_not_promoted(models: Path, tmp_path: Path) -> None:
    (models / "current").write_text("strict\n")
    photos = _strangers(tmp_path / "strangers", faces=50)
    comparison = compare(open_model(models), open_model(models, "lenient"), [photos])
    assert comparison.overall == Comparison(photos=210, gained=100, lost=50)
    assert comparison.worse == [Comparison(photos=50, gained=0, lost=50, part="kind faces")]
    result = _promote(models, "lenient", "--test", photos)
    assert (result.exit_code, result.stderr) == (
        2,
        "seefood: lenient is worse: of 50 photos of kind faces, only the candidate is right on 0, and only the "
        "version in use is right on 50 (p < 0.001 by Holm's correction for 4 comparisons); promote it anyway "
        "with --force.\n",
    )
    assert current_version(models) == "strict"


def test_a_small_slice_is_not_compared(models: Path, tmp_path: Path) -> None:
    (models / "current").write_text("strict\n")
    assert _promote(models, "lenient", "--test", _strangers(tmp_path / "strangers", faces=49)).exit_code == 0
    assert _why(models).endswith("(p = 1.000 by Holm's correction for 3 comparisons); no slice is significantly worse")


def test_a_kind_is_one_slice_in_whatever_folders_it_is(models: Path, tmp_path: Path) -> None:
    folders = [_strangers(tmp_path / name, faces=25) for name in ("a", "b")]
    result = compare(open_model(models, "strict"), open_model(models, "lenient"), folders)
    assert [(part.part, part.photos) for part in result.slices] == [
        ("kind faces", 50),
        ("kind faint", 200),
        ("kind rooms", 120),
    ]


def test_an_equal_candidate_passes_on_every_slice(models: Path, tmp_path: Path) -> None:
    photos = _strangers(tmp_path / "strangers", faces=50)
    assert compare(open_model(models), open_model(models, "twin"), [photos]).worse == []


def test_many_slices_need_more_than_one_that_is_worse_by_itself() -> None:
    alone = Comparison(50, 0, 5, "kind faces")
    others = tuple(Comparison(50, 0, 0, f"kind {number}") for number in range(12))
    assert SlicedComparison(Comparison(650, 9, 5), (alone,)).worse == []
    assert SlicedComparison(Comparison(50, 0, 5)).worse, "without slices it is significant"
    assert SlicedComparison(Comparison(650, 9, 8), (replace(alone, lost=8), *others)).worse == [], "14 / 2^8 is 0.055"
    assert SlicedComparison(Comparison(650, 9, 9), (replace(alone, lost=9), *others)).worse == [replace(alone, lost=9)]


def test_every_slice_that_is_worse_is_named() -> None:
    parts = tuple(Comparison(50, 0, lost, f"kind {name}") for name, lost in (("pets", 20), ("faces", 30), ("rooms", 0)))
    said = str(SlicedComparison(Comparison(150, 0, 50), parts))
    assert said.startswith("of 150 photos, only the candidate")
    assert said.endswith("; also worse: kind faces, kind pets")


def test_holms_adjustment_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.6]) == pytest.approx([0.04, 0.06, 0.06, 0.6])
    assert holm([0.5, 0.6]) == [1, 1]


def test_the_first_phone_version_has_none_to_be_compared_with(models: Path) -> None:
    result = _promote(models, "blind", "--as", "phone")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "blind is phone: the first phone version, without another one for a comparison.\n",
        "",
    )
    assert (version_of(models, "phone"), current_version(models)) == ("blind", "tiny")
    assert _why(models) == "the first phone version, without another one for a comparison"
    assert _promote(models, "twin", "--as", "phone").exit_code == 2, "the second version needs a comparison"


@pytest.mark.parametrize(
    ("more", "options"), [((), "--test"), (("--shadow-agreement", "0.98"), "--test and --shadow-agreement")]
)
def test_options_of_a_comparison_that_the_first_phone_version_has_not_are_named(
    more: tuple[str, ...], options: str, models: Path, photos: Path
) -> None:
    result = _promote(models, "blind", "--as", "phone", "--test", photos, *more)
    assert (result.exit_code, result.stdout) == (
        0,
        "blind is phone: the first phone version, without another one for a comparison.\n",
    )
    assert result.stderr == f"There is no phone version to compare blind with, so {options} had no effect.\n"


def test_the_first_phone_version_must_exist(models: Path) -> None:
    result = _promote(models, "v0", "--as", "phone")
    assert (result.exit_code, result.stderr) == (
        2,
        f"seefood: There is no version v0 in {models}; `seefood models` lists them.\n",
    )
    assert not (models / "phone").exists()


def test_a_phone_version_is_compared_with_the_one_before(models: Path, photos: Path) -> None:
    _promote(models, "blind", "--as", "phone")
    assert _promote(models, "twin", "--as", "phone", "--test", photos).exit_code == 0
    assert "of 16 photos, only the candidate is right on 8" in _why(models)
    assert (
        "of 16 photos, only the candidate is right on 0"
        in _promote(models, "blind", "--as", "phone", "--test", photos).stderr
    )
    back = seefood(models, "models", "rollback", "--as", "phone")
    assert (back.exit_code, back.stdout) == (0, "blind is phone again.\n")
    assert current_version(models) == "tiny"


def test_a_pointer_stands_for_its_version(models: Path, photos: Path) -> None:
    _promote(models, "twin", "--as", "phone")
    assert _promote(models, "phone", "--as", "current", "--test", photos).stdout.startswith("twin is current: ")
    assert current_version(models) == "twin"


def test_there_are_two_pointers(models: Path) -> None:
    result = _promote(models, "twin", "--as", "tablet")
    assert result.exit_code == 2
    assert "'tablet' is not one of 'current', 'phone'" in result.stderr
