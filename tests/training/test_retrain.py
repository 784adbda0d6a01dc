"""The command `seefood retrain`: accepted photos become a candidate, which is compared and never promoted."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from filelock import FileLock

from service.inbox.records import CORRECTION
from service.registry import current_version
from tests.fixtures.command import seefood
from tests.fixtures.drawing import LABELS, draw, draw_folder, encode
from tests.fixtures.inbox import accept, make_inbox, new_photo, sender
from tests.fixtures.small_backbone import SMALL
from tests.fixtures.tiny_model import write_tiny_registry
from training.data.accepted import HELD_OUT_FRACTION, find_accepted, is_held_out
from training.retrain import LOCK

SPLITS = ("fit", "validate", "held out")


@pytest.fixture(scope="module")
def test_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("data") / "test", each=40, first=1000)


@pytest.fixture(scope="module")
def first_models(drawn: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a registry with one version, a linear probe."""
    models = tmp_path_factory.mktemp("first") / "models"
    result = seefood(models, "train", drawn, "--backbone", SMALL, "--weights", weights, "--epochs", "0")
    assert result.exit_code == 0, result.stderr
    return models


@pytest.fixture
def models(first_models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first_models, tmp_path / "models")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a registry with a hand-made model, for what needs no training."""
    return write_tiny_registry(tmp_path / "models")


def _candidates(models: Path) -> set[str]:
    return {path.parent.name for path in models.glob("[!.]*/metrics.json")} - {current_version(models)}


def _retrain(models: Path, folder: Path, inbox: Path, test: Path, *more: object) -> Result:
    options = ("--inbox", inbox, "--test", test, "--backbone", SMALL, "--epochs", "0")
    return seefood(models, "retrain", folder, *options, *more)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # trains and exports two networks
def test_accepted_photos_become_a_candidate_that_is_compared(
    models: Path, drawn: Path, weights: Path, test_folder: Path, tmp_path: Path
) -> None:
    inbox = make_inbox(tmp_path / "inbox")
    for label in LABELS:
        accept(inbox, label, range(2000, 2032))
    hard = tmp_path / "hard"
    (hard / "not_hotdog").mkdir(parents=True)
    for seed in range(20):
        (hard / "not_hotdog" / f"pizza-{seed}.jpg").write_bytes(encode(draw("not_hotdog", 3000 + seed)))
    before = current_version(models)
    options = ("--weights", weights, "--when", "accepted=50", "--hard-negatives", hard)
    result = _retrain(models, drawn, inbox.folder, test_folder, *options)
    assert result.exit_code == 0, result.stderr
    (candidate,) = _candidates(models)
    assert current_version(models) == before, "it is not promoted"
    assert f"{candidate} is not worse: of " in result.stdout

    record = json.loads((models / candidate / "retraining.json").read_text())
    compared = {each["part"]: each["photos"] for each in record["comparisons"]}
    digests = {path.stem for path in find_accepted(inbox.folder, *LABELS).paths}
    held_out = {digest for digest in digests if is_held_out(digest)}
    assert 0 < len(held_out) < 64 * 2 * HELD_OUT_FRACTION
    assert compared | {"": 0} == {
        "": 0,
        "the test": 80,
        "held-out corrections": len(held_out),
        "hard negatives": 20,
    }
    assert compared[""] == 100 + len(held_out)
    with (models / candidate / "photos.csv").open() as file:
        rows = list(csv.DictReader(file))
    from_inbox = {
        split: {row["sha256"] for row in rows if (row["split"], row["source"]) == (split, "inbox")} for split in SPLITS
    }
    assert from_inbox["fit"] <= digests - held_out, "the others are never trained on"
    assert from_inbox["held out"] <= held_out
    assert len(from_inbox["fit"] | from_inbox["held out"]) >= len(digests) - 3, "a few drawings are near duplicates"
    assert not from_inbox["validate"]
    assert not held_out & {row["sha256"] for row in rows if row["split"] != "held out"}
    page = (models / candidate / "report" / "retraining.html").read_text()
    assert page.count("<img") == len(record["changes"])

    again = _retrain(models, drawn, inbox.folder, test_folder, *options)
    assert (again.exit_code, again.stdout) == (
        0,
        "0 accepted photos are new, and 50 are needed; nothing was trained.\n",
    )
    assert _candidates(models) == {candidate}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wrong_labels_are_refused_by_the_fixed_test(
    models: Path, drawn: Path, weights: Path, test_folder: Path, tmp_path: Path
) -> None:
    """Each accepted photo has the wrong label, as if a reviewer had accepted everything an attacker sent."""
    inbox = make_inbox(tmp_path / "inbox")
    for motif, other in (LABELS, LABELS[::-1]):
        accept(inbox, motif, range(2000, 2090), other)
    before = current_version(models)
    result = _retrain(models, drawn, inbox.folder, test_folder, "--weights", weights, "--when", "accepted=100")
    assert result.exit_code == 3, result.stderr
    (candidate,) = _candidates(models)
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith(f"seefood: {candidate} is worse: of ")
    assert "the test" in sentence
    page = models / candidate / "report" / "retraining.html"
    assert sentence.endswith(f"; {page} shows the photos that change.")
    assert current_version(models) == before
    shown = page.read_text()
    assert "<h2>Only the version in use is right: the test</h2>" in shown
    assert "<h2>Only the candidate is right: held-out corrections</h2>" in shown, "whose labels are wrong"
    changes = json.loads((models / candidate / "retraining.json").read_text())["changes"]
    lost = [each for each in changes if each["group"] == "the test" and not each["gained"]]
    assert len(lost) >= 5
    assert all(Path(each["path"]).is_file() for each in changes), "the files are named where they are"


def test_too_few_new_photos_are_nothing_to_do(tiny: Path, drawn: Path, test_folder: Path, tmp_path: Path) -> None:
    inbox = make_inbox(tmp_path / "inbox")
    assert inbox.add(new_photo(1), sender(1), CORRECTION, None, "hotdog"), "this one waits"
    nothing = _retrain(tiny, drawn, inbox.folder, test_folder)
    assert (nothing.exit_code, nothing.stdout) == (
        0,
        "0 accepted photos are new, and 200 are needed; nothing was trained.\n",
    )
    accept(inbox, "not_hotdog", range(2, 11))
    known = find_accepted(inbox.folder, *LABELS).paths[3].stem
    (tiny / "tiny" / "photos.csv").write_text(f"sha256,label,split,source\n{known},not_hotdog,fit,inbox\n")
    few = _retrain(tiny, drawn, inbox.folder, test_folder)
    assert (few.exit_code, few.stdout) == (
        0,
        "8 accepted photos are new, and 200 are needed; nothing was trained.\n",
    ), "nine photos, without the one that the current version knows"
    assert _candidates(tiny) == set()


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("condition", "--when 'accepted=many' is not valid; use accepted=NUMBER with a number above 0."),
        (
            "no test",
            "There are no test photos to compare the versions on; name a folder of labelled photos with --test FOLDER.",
        ),
        ("no inbox", "name the folder of SEEFOOD_FEEDBACK_DIR."),
        ("an image folder as the inbox", "name the folder of SEEFOOD_FEEDBACK_DIR."),
        ("other labels in the inbox", "accepted as pizza, not as hotdog or not_hotdog; decide about it again."),
        ("no hard negatives", "can't be read as a folder: No such file or directory."),
        ("other labels", "train and promote a first version of these labels."),
        ("no current version", "make one with seefood train, or set SEEFOOD_MODELS or SEEFOOD_MODEL."),
        ("twice", "is running; try again when it has ended."),
        ("damaged record", "restore them."),
    ],
)
def test_what_cannot_work_is_a_sentence(
    case: str, sentence: str, tiny: Path, drawn: Path, test_folder: Path, tmp_path: Path
) -> None:
    opened, folder, options = make_inbox(tmp_path / "inbox"), drawn, ["--test", str(test_folder)]
    inbox = opened.folder
    if case == "condition":
        options += ["--when", "accepted=many"]
    elif case == "no test":
        options = []
    elif case == "no inbox":
        inbox = tmp_path / "nowhere"
    elif case == "an image folder as the inbox":
        inbox = drawn
    elif case == "other labels in the inbox":
        accept(opened, "hotdog", [1], "pizza")
    elif case == "no hard negatives":
        options += ["--hard-negatives", str(tmp_path / "nowhere")]
    elif case == "other labels":
        folder = draw_folder(tmp_path / "pets", ("cat", "dog"), each=32)
        options = ["--positive", "cat", "--test", str(draw_folder(tmp_path / "test", ("cat", "dog"), each=2))]
    elif case == "no current version":
        (tiny / "current").unlink()
    elif case == "damaged record":
        (tiny / "tiny" / "retraining.json").write_text("{}")
    with FileLock(tiny / LOCK) if case == "twice" else FileLock(tmp_path / "unrelated.lock"):
        result = seefood(tiny, "retrain", folder, "--inbox", inbox, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("seefood: ")
    assert result.stderr.endswith(f"{sentence}\n")
    assert result.stderr.count("\n") == 1
