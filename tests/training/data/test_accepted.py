"""Accepted photos of an inbox are trained on, and are never validation or test photos."""

import csv
import hashlib
import shutil
from pathlib import Path

import pytest

from service.errors import SeeFoodError
from service.inbox import review
from service.inbox.export import export
from service.inbox.records import CORRECTION, Decision, Limits, NewPhoto, Sender
from service.inbox.store import Inbox
from service.stored_photo import prepare
from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw, draw_folder, encode
from training.data.accepted import add_accepted, find_accepted, is_held_out
from training.data.photos import gather


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    """Return an inbox with four accepted photos: the third is held out, and the last is in the folder `drawn` too."""
    inbox = Inbox(tmp_path / "inbox", Limits(10**9, 1000, 1000))
    inbox.open()
    for seed in (500, 505, 501, 3, 504):
        prepared = prepare(encode(draw("hotdog", seed)), 64, 10**6)
        new = NewPhoto(prepared.jpeg, ".jpg", prepared.phash)
        assert inbox.add(new, Sender(None, "192.0.2.1"), CORRECTION, None, "hotdog")
    review.decide(inbox, {number: Decision("accepted", "hotdog") for number in (1, 2, 3, 4)}, "me")
    return inbox


def test_accepted_photos_are_found_and_a_part_is_held_out(inbox: Inbox, drawn: Path) -> None:
    data = add_accepted(gather(drawn), inbox.folder)
    found = find_accepted(inbox.folder, "hotdog", "not_hotdog")
    assert found.labels() == ["hotdog"] * 4
    assert data.accepted.paths == tuple(path for path in found.paths if not is_held_out(path.stem))
    assert data.corrections.paths == tuple(path for path in found.paths if is_held_out(path.stem))
    assert not set(found.paths) & set(data.photos.paths)
    assert len(gather(drawn).accepted) == len(gather(drawn).corrections) == 0


def test_one_photo_in_five_is_held_out() -> None:
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(5000)]
    assert 900 < sum(map(is_held_out, digests)) < 1100


def test_a_missing_inbox_or_another_label_is_a_sentence(inbox: Inbox, tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match="There is no inbox"):
        find_accepted(tmp_path / "nowhere", "hotdog", "not_hotdog")
    first = find_accepted(inbox.folder, "hotdog", "not_hotdog").paths[0]
    sentence = f"has the photo {first.name}, which is accepted as hotdog, not as cat or dog; decide about it again"
    with pytest.raises(SeeFoodError, match=sentence):
        find_accepted(inbox.folder, "cat", "dog")


def test_an_inbox_is_no_test_folder(inbox: Inbox, drawn: Path) -> None:
    for folder in (inbox.folder, inbox.folder / "photos"):
        with pytest.raises(SeeFoodError, match="is in an inbox, whose photos can't be test photos"):
            gather(drawn, tests=[folder])


@pytest.mark.slow
def test_training_records_which_photos_are_from_the_inbox(inbox: Inbox, drawn: Path, tmp_path: Path) -> None:
    models, test = tmp_path / "models", draw_folder(tmp_path / "data" / "test", each=20, first=1000)
    options = ("--weights", "none", "--epochs", "1", "--test", test, "--inbox", inbox.folder, "--models", models)
    exported = tmp_path / "exported"
    export(inbox, exported)
    for file in (exported / "hotdog").iterdir():
        shutil.copy(file, test / "hotdog")
    refused = seefood(models, "train", drawn, *options)
    assert refused.exit_code == 2
    assert "is a photo of the inbox, which can't be a validation or test photo; remove it" in refused.stderr
    for file in (exported / "hotdog").iterdir():
        (test / "hotdog" / file.name).unlink()
    done = seefood(models, "train", drawn, *options)
    assert done.exit_code == 0, done.output
    assert "2 accepted photos of the inbox are fitted too, and 1 are held out." in done.stderr
    (version,) = [path for path in models.iterdir() if path.is_dir() and not path.name.startswith((".", "runs"))]
    with (version / "photos.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    accepted = {row["sha256"]: row["split"] for row in rows if row["source"] == "inbox"}
    assert sorted(accepted.values()) == ["fit", "fit", "held out"], "the fourth shows a picture of the folder"
    assert all((split == "held out") is is_held_out(digest) for digest, split in accepted.items())
    assert set(accepted) <= {path.stem for path in (inbox.folder / "photos").iterdir()}
    assert "of which 2 are accepted photos of the inbox (1 more are held out)" in (version / "card.md").read_text()
