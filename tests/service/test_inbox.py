"""The inbox: votes, quotas, near duplicates, its limit in bytes, decisions and exports."""

import io
import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import SeeFoodError
from service.inbox import review, senders
from service.inbox.export import accepted, export, purge
from service.inbox.index import InboxFull
from service.inbox.records import CORRECTION, SAMPLE, Decision, Limits, ModelVerdict, NewPhoto, Sender
from service.inbox.review import Filter
from service.inbox.senders import OverQuota
from service.inbox.store import INDEX, PHOTOS, Inbox
from service.inbox.votes import rank
from service.phash import BLANK, NEAR_BITS, contrast, perceptual_hash
from service.photo import decode
from service.stored_photo import prepare
from tests.fixtures.drawing import draw, encode
from tests.fixtures.inbox import new_photo

A, B, C = (Sender(None, f"192.0.2.{number}") for number in (1, 2, 3))
SURE = ModelVerdict("v1", "hotdog", "hotdog", 0.98, unfamiliar=False)
DOUBT = ModelVerdict("v1", "hotdog", "hotdog", 0.6, unfamiliar=True)
ANY = Filter()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make(tmp_path / "inbox")


def make(folder: Path, max_bytes: int = 10_000_000, key: int = 1000, address: int = 1000) -> Inbox:
    inbox = Inbox(folder, Limits(max_bytes, key, address))
    inbox.open()
    return inbox


def send(inbox: Inbox, seed: int, sender: Sender = A, label: str = "not_hotdog", verdict: ModelVerdict = SURE) -> str:
    receipt = inbox.add(new_photo(seed), sender, CORRECTION, verdict, label)
    assert receipt
    return receipt


def files(inbox: Inbox) -> set[str]:
    return {path.name for path in (inbox.folder / PHOTOS).iterdir()}


def waiting(inbox: Inbox, chosen: Filter = ANY) -> list[int]:
    return [each["id"] for each in review.photos(inbox, chosen, "waiting", 1000)]


@pytest.mark.parametrize(
    ("label", "seed", "phash"),
    [
        ("hotdog", 0, "eee9f44b1e90842e"),
        ("not_hotdog", 0, "c3ac89c6a6ce9939"),
        ("hotdog", 1, "eaf0c5fe6681816a"),
        ("not_hotdog", 1, "8279e13ff6cc02d1"),
        ("hotdog", 2, "bd199cc4182fe7d0"),
        ("not_hotdog", 2, "d69c751ee3980c99"),
    ],
)
def test_the_hash_is_that_of_imagehash(label: str, seed: int, phash: str) -> None:
    """The values are those of `imagehash.phash`, version 4.3.2."""
    assert f"{perceptual_hash(np.asarray(draw(label, seed).convert('L'))):016x}" == phash


def test_a_stored_photo_has_the_hash_that_training_computes() -> None:
    prepared = prepare(encode(draw("hotdog", 5, (3000, 2400)), quality=90), 64, 10**7)
    image = decode(prepared.jpeg, at_least=256)
    assert max(Image.open(io.BytesIO(prepared.jpeg)).size) == 1024
    assert prepared.phash == perceptual_hash(np.asarray(image.convert("L")))


def test_near_duplicates_collapse_into_one_photo_with_votes(inbox: Inbox) -> None:
    send(inbox, 1)
    same = inbox.add(new_photo(1, quality=40), B, CORRECTION, SURE, "not_hotdog")
    assert same
    assert len(files(inbox)) == 1
    (found,) = review.photos(inbox, ANY, "waiting", 10)
    assert [vote["label"] for vote in found["votes"]] == ["not_hotdog", "not_hotdog"]
    assert len({vote["sender"] for vote in found["votes"]}) == 2
    assert inbox.add(new_photo(1, quality=30), B, SAMPLE) is None, "nothing is new"
    for seed in range(2, 60):
        send(inbox, seed)
    assert len(files(inbox)) == 59, "other pictures do not collapse"
    assert NEAR_BITS == 6


def test_blank_photos_collapse_by_their_bytes_only(inbox: Inbox) -> None:
    for colour in ("red", "blue", "red"):
        prepared = prepare(encode(Image.new("RGB", (40, 40), colour)), 64, 10**6)
        assert prepared.phash is None
        inbox.add(NewPhoto(prepared.jpeg, ".jpg", None), A, CORRECTION, SURE, "hotdog")
    assert len(files(inbox)) == 2
    assert contrast(np.zeros((9, 9), np.uint8)) < BLANK


def test_keys_and_addresses_are_not_stored(inbox: Inbox) -> None:
    send(inbox, 1, Sender(senders.key_id(b"the secret key"), "192.0.2.77"))
    send(inbox, 2, Sender(None, "2001:db8:1:2:3:4:5:6"))
    send(inbox, 3, Sender(None, "2001:db8:1:2:ffff::1"))
    index = b"".join(path.read_bytes() for path in inbox.folder.glob("inbox.sqlite*"))
    assert b"secret key" not in index
    assert b"192.0.2" not in index
    assert b"2001:db8" not in index
    first, second, third = (each["sender"] for each in sorted(_all(inbox), key=lambda each: each["id"]))
    assert first == f"key {senders.key_id(b'the secret key')}"
    assert second == third, "one customer has a whole /64 network"
    other = make(inbox.folder.parent / "other")
    send(other, 2, Sender(None, "2001:db8:1:2:3:4:5:6"))
    assert _all(other)[0]["sender"] != second, "inboxes have secrets of their own"


def _all(inbox: Inbox) -> list[dict[str, Any]]:
    return [each for state in ("waiting", "accepted", "dropped") for each in review.photos(inbox, ANY, state, 1000)]


def test_quotas_are_for_a_key_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = make(tmp_path / "inbox", key=3, address=2)
    for seed in range(3):
        send(inbox, seed, Sender("k1", "192.0.2.1"))
    with pytest.raises(OverQuota, match="This key has sent 3 photos within 24 hours") as caught:
        send(inbox, 9, Sender("k1", "192.0.2.99"))
    assert 86000 < caught.value.seconds <= 86400
    for seed in range(3, 5):
        send(inbox, seed, A)
    with pytest.raises(OverQuota, match="This address has sent 2 photos"):
        send(inbox, 9, A)
    inbox.withdraw(send(inbox, 5, B))
    inbox.withdraw(send(inbox, 5, B))
    with pytest.raises(OverQuota):
        send(inbox, 5, B)
    assert len(files(inbox)) == 5
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86401)
    send(inbox, 9, A)


def test_a_clock_that_was_ahead_blocks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = make(tmp_path / "inbox", address=2)
    with monkeypatch.context() as patch:
        real = time.time
        patch.setattr(time, "time", lambda: real() + 10 * 365 * 86400)
        send(inbox, 0, A)
        send(inbox, 1, A)
    send(inbox, 2, A)
    send(inbox, 3, A)
    with pytest.raises(OverQuota):
        send(inbox, 4, A)


def test_a_file_that_cant_be_deleted_is_logged(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    receipt = send(inbox, 1, A)
    (name,) = files(inbox)
    inbox.path(name).unlink()
    inbox.path(name).mkdir()  # unlink fails on a folder, whoever tries it
    assert inbox.withdraw(receipt)
    (line,) = caplog.messages
    assert line.startswith("files of deleted photos are still in the inbox until the next start: ")
    assert not _all(inbox)


def test_the_oldest_photo_that_nobody_has_decided_makes_room(tmp_path: Path) -> None:
    inbox = make(tmp_path / "inbox", max_bytes=5 * 8192)
    data = [NewPhoto(bytes([seed]) * 8000, ".jpg", None) for seed in range(9)]
    for each in data[:5]:
        assert inbox.add(each, A, CORRECTION, SURE, "hotdog")
    review.decide(inbox, {1: Decision("accepted", "hotdog"), 3: Decision("dropped")}, "me")
    for each in data[5:7]:
        assert inbox.add(each, A, CORRECTION, SURE, "hotdog")
    assert waiting(inbox) == [4, 5, 6, 7], "the dropped one goes first, then the oldest one"
    assert len(files(inbox)) == 5
    review.decide(inbox, {number: Decision("accepted", "hotdog") for number in (4, 5, 6, 7)}, "me")
    with pytest.raises(InboxFull, match="the limit of 40,960 bytes is reached"):
        inbox.add(data[7], A, CORRECTION, SURE, "hotdog")
    with pytest.raises(InboxFull):
        inbox.add(NewPhoto(bytes(50_000), ".jpg", None), A, CORRECTION, SURE, "hotdog")
    assert len(files(inbox)) == 5


def test_a_photo_that_never_fits_makes_no_room(tmp_path: Path) -> None:
    inbox = make(tmp_path / "inbox", max_bytes=20_000)
    inbox.add(NewPhoto(bytes(8000), ".jpg", None), A, CORRECTION)
    with pytest.raises(InboxFull):
        inbox.add(NewPhoto(bytes(30_000), ".jpg", None), A, CORRECTION)
    assert waiting(inbox) == [1]


def test_a_photo_that_cannot_be_written_leaves_no_file(inbox: Inbox) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(InboxFull, match=r"inbox can't be used: File too large; allow larger files\.$"):
            inbox.add(NewPhoto(bytes(300_000), ".jpg", None), A, CORRECTION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(inbox) == set()


def test_a_receipt_of_another_sender_withdraws_only_that_vote(inbox: Inbox) -> None:
    first, second = send(inbox, 1, A), send(inbox, 1, B, "hotdog")
    assert inbox.withdraw(second)
    assert not inbox.withdraw(second)
    (found,) = review.photos(inbox, ANY, "waiting", 10)
    assert [vote["label"] for vote in found["votes"]] == ["not_hotdog"]
    send(inbox, 1, B, "hotdog")
    assert inbox.withdraw(first), "the photo came from this sender, and goes with all votes"
    assert files(inbox) == set()


def test_a_collected_photo_goes_with_its_last_vote(inbox: Inbox) -> None:
    assert inbox.add(new_photo(1), A, SAMPLE, DOUBT) == ""
    receipt = send(inbox, 1, B, "hotdog")
    assert [each["reason"] for each in review.photos(inbox, ANY, "waiting", 9)] == ["correction"]
    assert inbox.withdraw(receipt)
    assert files(inbox) == set()


def test_an_accepted_photo_can_be_withdrawn_and_the_audit_says_so(inbox: Inbox) -> None:
    receipt = send(inbox, 1)
    review.decide(inbox, {1: Decision("accepted", "hotdog")}, "me")
    assert inbox.withdraw(receipt)
    assert accepted(inbox) == []
    assert [(line["who"], line["before"], line["after"]) for line in review.audit_lines(inbox)] == [
        ("me", "waiting", "accepted hotdog"),
        ("sender", "accepted hotdog", "deleted"),
    ]


def test_photos_are_ordered_by_doubt_novelty_and_votes(inbox: Inbox) -> None:
    assert rank((0.5, "hotdog"), unfamiliar=False, labels=[]) == 1
    assert rank((0.5, "hotdog"), unfamiliar=True, labels=[]) == 2
    assert rank((0.98, "hotdog"), unfamiliar=False, labels=[]) == pytest.approx(0.04)
    assert rank((0.98, "hotdog"), unfamiliar=False, labels=["not_hotdog"]) == pytest.approx(0.98 * 2)
    assert rank((0.98, "hotdog"), unfamiliar=False, labels=["hotdog"]) == pytest.approx(0.04 * 2)
    inbox.add(new_photo(1), A, SAMPLE, SURE)
    inbox.add(new_photo(2), A, SAMPLE, DOUBT)
    send(inbox, 3, A)
    send(inbox, 4, A)
    send(inbox, 4, B)
    assert waiting(inbox) == [4, 3, 2, 1]
    pages, after = [], None
    while page := review.photos(inbox, ANY, "waiting", 1, after):
        pages.append(page[0]["id"])
        after = page[0]["rank"], page[0]["id"]
    assert pages == [4, 3, 2, 1]


def test_filters(inbox: Inbox) -> None:
    send(inbox, 1, A, "not_hotdog")
    send(inbox, 2, A, "hotdog")
    send(inbox, 3, A, "hotdog")
    send(inbox, 3, B, "not_hotdog")
    inbox.add(new_photo(4), C, SAMPLE, DOUBT)
    sender = str(next(each for each in _all(inbox) if each["id"] == 4)["sender"])
    assert set(waiting(inbox, Filter(conflict=True))) == {3}
    assert set(waiting(inbox, Filter(disagree=True))) == {1, 3}
    assert set(waiting(inbox, Filter(reason="sample"))) == {4}
    assert set(waiting(inbox, Filter(sender=sender))) == {4}
    assert set(waiting(inbox, Filter(label="not_hotdog"))) == set()
    review.decide(inbox, {3: Decision("dropped")}, "me")
    assert review.counts(inbox, ANY) == {"waiting": 3, "accepted": 0, "dropped": 1}
    assert review.counts(inbox, Filter(reason="sample")) == {"waiting": 1, "accepted": 0, "dropped": 0}
    hostile = "x' OR '1'='1"
    assert waiting(inbox, Filter(sender=hostile)) == []


def test_decisions_are_audited_and_final(inbox: Inbox) -> None:
    send(inbox, 1)
    assert review.decide(inbox, {1: Decision("accepted", "hotdog"), 99: Decision("dropped")}, "reviewer x") == {
        1: Decision("waiting")
    }
    assert review.decide(inbox, {1: Decision("waiting")}, "reviewer y") == {1: Decision("accepted", "hotdog")}
    assert review.decide(inbox, {1: Decision("waiting")}, "reviewer y") == {1: Decision("waiting")}
    lines = review.audit_lines(inbox)
    assert [(line["who"], line["before"], line["after"]) for line in lines] == [
        ("reviewer x", "waiting", "accepted hotdog"),
        ("reviewer y", "accepted hotdog", "waiting"),
    ]
    (file,) = files(inbox)
    assert {f"{line['digest']}.jpg" for line in lines} == {file}
    with sqlite3.connect(inbox.folder / INDEX) as db:
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'nobody'"):
            with pytest.raises(sqlite3.IntegrityError, match="audit lines are"):
                db.execute(statement)
    db.close()


def test_exports_are_image_folders(inbox: Inbox, tmp_path: Path) -> None:
    for seed in range(4):
        send(inbox, seed)
    with pytest.raises(SeeFoodError, match=r"No photo of .* is accepted yet"):
        export(inbox, tmp_path / "out")
    decisions = {1: Decision("accepted", "hotdog"), 2: Decision("accepted", "not_hotdog"), 3: Decision("dropped")}
    review.decide(inbox, decisions, "me")
    assert export(inbox, tmp_path / "out") == {"hotdog": 1, "not_hotdog": 1}
    assert [each.label for each in accepted(inbox)] == ["hotdog", "not_hotdog"]
    for each in accepted(inbox):
        assert (tmp_path / "out" / each.label / each.path.name).read_bytes() == each.path.read_bytes()
    with pytest.raises(SeeFoodError, match="exists already"):
        export(inbox, tmp_path / "out")
    review.decide(inbox, {1: Decision("accepted", "../evil")}, "me")
    with pytest.raises(SeeFoodError, match="can't name a folder"):
        export(inbox, tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"inbox", "out"}, "no part is left"


def test_purging_deletes_old_photos(inbox: Inbox) -> None:
    for seed in range(4):
        send(inbox, seed)
    review.decide(inbox, {1: Decision("accepted", "hotdog"), 2: Decision("dropped")}, "me")
    with sqlite3.connect(inbox.folder / INDEX) as db:
        db.execute("UPDATE photos SET received = received - 31 * 86400 WHERE id < 4")
    db.close()
    assert purge(inbox, 30 * 86400, ("waiting", "dropped"), "me") == 2
    assert len(files(inbox)) == 2
    assert purge(inbox, 30 * 86400, ("waiting", "dropped", "accepted"), "me") == 1
    assert waiting(inbox) == [4]
    assert [line["after"] for line in review.audit_lines(inbox)][-1] == "purged"


def test_a_later_format_is_refused(inbox: Inbox) -> None:
    with sqlite3.connect(inbox.folder / INDEX) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(SeeFoodError, match="has the format 9; update SeeFood"):
        inbox.open()
