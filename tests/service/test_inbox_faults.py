"""Killed processes, several processes, full and read-only disks and damaged indexes: no answered photo is lost."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from service.inbox import review
from service.inbox.index import InboxError
from service.inbox.records import CORRECTION, Decision, Limits, NewPhoto, Sender
from service.inbox.review import Filter
from service.inbox.store import INDEX, PHOTOS, Inbox
from tests.fixtures.disk import mounted_or_skipped
from tests.fixtures.drawing import draw, encode
from tests.fixtures.load import until
from tests.fixtures.server import Response, Server, serving

pytestmark = pytest.mark.slow

A = Sender(None, "192.0.2.1")
DAMAGED = "The inbox of photos can't be used: its index is damaged; "
# Stores photos with random bytes, and writes each receipt when it has it, until it is killed.
WRITER = """
import os, sys
from pathlib import Path
from service.inbox.records import Limits, NewPhoto, Sender
from service.inbox.store import Inbox
inbox = Inbox(Path(sys.argv[1]), Limits(10**9, 10**9, 10**9))
inbox.open()
receipts = []
while True:
    data = os.urandom(3000)
    receipt = inbox.add(NewPhoto(data, ".jpg", None), Sender(None, "192.0.2.1"), "correction", None, "hotdog")
    sys.stdout.buffer.write(data.hex().encode() + b" " + receipt.encode() + b"\\n")
    sys.stdout.flush()
    receipts.append(receipt)
    if len(receipts) > 3:
        gone = receipts.pop(0)
        sys.stdout.buffer.write(b"going " + gone.encode() + b"\\n")
        sys.stdout.flush()
        inbox.withdraw(gone)
        sys.stdout.buffer.write(b"gone " + gone.encode() + b"\\n")
        sys.stdout.flush()
"""


def _inbox(folder: Path) -> Inbox:
    return Inbox(folder, Limits(10**9, 10**9, 10**9))


def _files(folder: Path) -> set[str]:
    return {path.name for path in (folder / PHOTOS).iterdir()}


def _indexed(folder: Path) -> set[str]:
    return {photo["file"] for photo in review.photos(_inbox(folder), Filter(), "waiting", 10**6)}


def _check(folder: Path) -> None:
    """Check that index and files agree, and that each file has the bytes that its name says."""
    assert _files(folder) == _indexed(folder)
    for path in (folder / PHOTOS).iterdir():
        assert sha256(path.read_bytes()).hexdigest() == path.stem


def test_a_killed_process_loses_nothing_that_it_answered(tmp_path: Path) -> None:
    """Two processes write at a time, and both are killed at random times, again and again."""
    folder, chance = tmp_path / "inbox", random.Random(1)  # noqa: S311
    stored: dict[str, str] = {}
    going: set[str] = set()
    gone: set[str] = set()
    for _ in range(6):
        logs = [tmp_path / "one", tmp_path / "two"]
        with logs[0].open("wb") as one, logs[1].open("wb") as two:
            command = [sys.executable, "-c", WRITER, str(folder)]
            processes = [subprocess.Popen(command, stdout=log) for log in (one, two)]
            until(lambda: all(log.stat().st_size > 50_000 for log in logs))  # noqa: B023 - called at once
            time.sleep(chance.uniform(0, 0.2))
            for process in processes:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        for log in logs:
            for line in log.read_text().split("\n")[:-1]:
                first, second = line.split(" ")
                if first in ("going", "gone"):
                    (going if first == "going" else gone).add(second)
                else:
                    stored[second] = f"{sha256(bytes.fromhex(first)).hexdigest()}.jpg"
        _inbox(folder).open()
        _check(folder)
        kept = {name for receipt, name in stored.items() if receipt not in going}
        assert kept <= _files(folder), "what was answered is stored"
        assert not {name for receipt, name in stored.items() if receipt in gone} & _files(folder), "deleted is deleted"
    assert len(stored) > 60


def _add_many(folder: Path, seed: int) -> None:
    inbox, chance = _inbox(folder), random.Random(seed)  # noqa: S311
    inbox.open()
    for _ in range(40):
        data = bytes([chance.randrange(6)]) * 2000
        receipt = inbox.add(NewPhoto(data, ".jpg", None), Sender(None, f"192.0.2.{seed}"), CORRECTION, None, "hotdog")
        if receipt and chance.random() < 0.3:
            inbox.withdraw(receipt)


def test_several_processes_use_one_inbox(tmp_path: Path) -> None:
    """All of them create it, too."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add_many, args=(tmp_path / "inbox", seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    _check(tmp_path / "inbox")


def _send(server: Server, seed: int, label: str = "hotdog") -> Response:
    return server.request("POST", f"/v1/feedback?label={label}", encode(draw("hotdog", seed)), "image/jpeg")


def _predicts(server: Server) -> bool:
    return server.request("POST", "/v1/predict", encode(draw("hotdog", 1)), "image/jpeg").status == 200


def _sentence(answer: Response, status: int, slug: str) -> str:
    body: dict[str, Any] = answer.json()
    assert (answer.status, body["type"]) == (status, f"urn:problem-type:seefood:{slug}"), body
    assert body["detail"].endswith(".")
    assert "/" not in body["detail"], "no path of the service"
    return str(body["detail"])


def test_two_services_share_an_inbox(tiny_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    with (
        serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(folder)) as one,
        serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(folder)) as two,
    ):
        receipt = _send(one, 1).json()["receipt"]
        assert _send(two, 1).status == 200, "the same picture of the same sender"
        assert two.request("DELETE", f"/v1/feedback/{receipt}").status == 204
        assert one.request("DELETE", f"/v1/feedback/{receipt}").status == 404
        assert _send(one, 2).status == 201
    _check(folder)


def test_a_service_that_is_killed_keeps_what_it_answered(tiny_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    with serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(folder), SEEFOOD_FEEDBACK_PER_ADDRESS="1000") as server:
        receipts = []
        for round_ in range(3):
            receipts += [_send(server, seed).json()["receipt"] for seed in range(round_ * 5, round_ * 5 + 5)]
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            until(lambda: len(server.workers()) == 1 and server.workers() != [worker])  # noqa: B023 - called at once
            until(server.answers)
        assert len(_files(folder)) == 15
        assert {server.request("DELETE", f"/v1/feedback/{receipt}").status for receipt in receipts} == {204}
    assert _files(folder) == set()


def test_a_full_disk_is_one_sentence_and_photos_are_still_classified(tiny_models: Path, tmp_path: Path) -> None:
    with mounted_or_skipped(tmp_path / "disk", "size=1m") as disk:
        with serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(disk / "inbox")) as server:
            assert _send(server, 0).status == 201
            ballast = disk / "ballast"
            for spare in (0, 8192, 60_000):  # no room for the file, for the index, or for its log
                _fill(ballast, spare)
                answers = [_send(server, seed) for seed in range(100 + spare, 160 + spare)]
                refused = [answer for answer in answers if answer.status != 201]
                assert refused, "the disk is full"
                for answer in refused:
                    _sentence(answer, 507, "feedback-full")
                assert _predicts(server)
                ballast.unlink()
                assert _send(server, 1000 + spare).status == 201
        _inbox(disk / "inbox").open()
        _check(disk / "inbox")


def _fill(ballast: Path, spare: int) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - spare))


def test_a_disk_that_becomes_read_only_is_one_sentence(tiny_models: Path, tmp_path: Path) -> None:
    with (
        mounted_or_skipped(tmp_path / "disk", "size=4m") as disk,
        serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(disk / "inbox")) as server,
    ):
        receipt = _send(server, 0).json()["receipt"]
        remount = ["mount", "-o", "remount,ro", str(disk)]
        subprocess.run(remount, check=True)
        _sentence(_send(server, 1), 503, "feedback-unavailable")
        _sentence(server.request("DELETE", f"/v1/feedback/{receipt}"), 503, "feedback-unavailable")
        assert _predicts(server)
        subprocess.run([*remount[:2], "remount,rw", str(disk)], check=True)
        assert _send(server, 1).status == 201
        assert server.request("DELETE", f"/v1/feedback/{receipt}").status == 204


@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_a_damaged_index_is_one_sentence_and_its_photos_can_be_recovered(
    tiny_models: Path, tmp_path: Path, when: str
) -> None:
    folder = tmp_path / "inbox"
    inbox = _inbox(folder)
    inbox.open()
    for seed in range(3):
        inbox.add(NewPhoto(encode(draw("hotdog", seed)), ".jpg", None), A, CORRECTION, None, "hotdog")
    if when == "before the start":
        _damage(folder)
    with serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(folder)) as server:
        if when == "while it runs":
            _damage(folder)
        assert _sentence(_send(server, 9), 503, "feedback-unavailable").startswith(DAMAGED)
        _sentence(server.request("DELETE", "/v1/feedback/1.x"), 503, "feedback-unavailable")
        assert _predicts(server)
        assert _predicts(server)
        told = [json.loads(line)["message"] for line in server.log().splitlines() if "move this file" in line]
        assert told
        assert "Traceback" not in server.log()
    assert len(_files(folder)) == 3
    with pytest.raises(InboxError, match="and restart; its photos then wait again"):
        inbox.open()
    for path in folder.glob(f"{INDEX}*"):
        path.rename(tmp_path / path.name)
    with serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(folder)) as server:
        assert _send(server, 9).status == 201
    found = review.photos(inbox, Filter(reason="recovered"), "waiting", 9)
    assert len(found) == 3
    assert len(_files(folder)) == 4
    assert review.decide(inbox, {found[0]["id"]: Decision("accepted", "hotdog")}, "me")


def _damage(folder: Path) -> None:
    for path in folder.glob(f"{INDEX}*"):
        path.unlink()
    (folder / INDEX).write_bytes(b"this is not a database, but it is as long as one" * 100)
