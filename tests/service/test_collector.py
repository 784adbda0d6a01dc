"""Photos that the model doubts are collected only where the operator says so, and never delay an answer."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from service import collector as module
from service.collector import Collector, CollectRules
from service.errors import SeeFoodError
from service.inbox import review
from service.inbox.review import Filter
from service.inbox.store import Inbox
from service.metrics import registry
from service.model import Verdict
from tests.conftest import MakeClient
from tests.fixtures.drawing import encode
from tests.fixtures.inbox import make_inbox
from tests.fixtures.load import until

COLOURS = {"red": (255, 0, 0), "grey": (128, 128, 128), "yellow": (255, 255, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def make(make_client: MakeClient, folder: Path) -> Iterator[MakeClient]:
    made: list[FlaskClient] = []

    def make(**changes: Any) -> FlaskClient:
        made.append(make_client(feedback_dir=str(folder), **changes))
        return made[-1]

    yield make
    for each in made:
        if collector := each.application.extensions["collector"]:
            collector.close()


def _ask(client: FlaskClient, *colours: str) -> None:
    files = [(io.BytesIO(encode(Image.new("RGB", (60, 50), COLOURS[colour]))), "x.jpg") for colour in colours]
    form = {"image": files}
    assert client.post("/v1/predict", data=form, content_type="multipart/form-data").status_code == 200


def _reasons(client: FlaskClient, folder: Path) -> list[str]:
    if collector := client.application.extensions["collector"]:
        collector.close()
    return sorted(photo["reason"] for photo in review.photos(make_inbox(folder), Filter(), "waiting", 99))


@pytest.mark.parametrize(
    ("collect", "reasons"),
    [
        ("", []),
        ("uncertain", ["uncertain"]),
        ("unfamiliar", ["unfamiliar"]),
        (" uncertain, unfamiliar ", ["uncertain", "unfamiliar"]),
        ("sample:1", ["sample"] * 3),
        ("uncertain,sample:1", ["sample", "sample", "uncertain"]),
        ("sample:1e-12", []),
    ],
)
def test_photos_are_collected_by_their_verdict(
    make: MakeClient, folder: Path, collect: str, reasons: list[str]
) -> None:
    asked = make(collect=collect)
    _ask(asked, "red", "grey", "yellow")
    assert asked.get("/v1/model").get_json()["collects"] is bool(collect)
    assert _reasons(asked, folder) == reasons


def test_a_collected_photo_has_its_verdict_and_no_vote(make: MakeClient, folder: Path) -> None:
    asked = make(collect="uncertain")
    _ask(asked, "grey", "grey")
    assert _reasons(asked, folder) == ["uncertain"], "the same photo once"
    (photo,) = review.photos(make_inbox(folder), Filter(), "waiting", 99)
    assert photo["votes"] == []
    assert photo["model"]["version"] == "tiny"
    assert 0.4 < photo["model"]["probability"] < 0.6


def test_a_sender_fills_the_inbox_up_to_the_quota_only(make: MakeClient, folder: Path) -> None:
    asked = make(collect="sample:1", feedback_per_address=2)
    _ask(asked, "red", "grey", "yellow")
    assert len(_reasons(asked, folder)) == 2


def test_a_damaged_inbox_leaves_the_answers_as_they_are(make: MakeClient, folder: Path) -> None:
    asked = make(collect="sample:1")
    for path in folder.glob("inbox.sqlite*"):
        path.unlink()
    (folder / "inbox.sqlite").write_bytes(b"this is not a database, but it is as long as one" * 100)
    before = _failed()
    _ask(asked, "red")
    asked.application.extensions["collector"].close()
    assert _failed() == before + 1


def _failed() -> float:
    return registry.get_sample_value("seefood_collected_photos_total", {"outcome": "failed"}) or 0


def test_photos_are_left_out_where_the_thread_can_not_keep_up(
    make: MakeClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, inside, go_on = make(collect="sample:1"), threading.Event(), threading.Event()
    collector: Collector = asked.application.extensions["collector"]
    monkeypatch.setattr(module, "_WAITING_BYTES", 1000)
    add = Inbox.add

    def slow(*arguments: Any) -> str | None:
        inside.set()
        assert go_on.wait(30)
        return add(*arguments)

    monkeypatch.setattr(Inbox, "add", slow)
    _ask(asked, "red")
    until(inside.is_set)
    _ask(asked, "grey", "yellow")
    go_on.set()
    collector.close()
    assert len(review.photos(make_inbox(folder), Filter(), "waiting", 99)) == 1


@pytest.mark.parametrize(
    "text", ["x", "sample", "sample:", "sample:0", "sample:2", "sample:nan", "uncertain:1", "Sample:1"]
)
def test_a_wrong_choice_is_one_sentence(text: str) -> None:
    with pytest.raises(SeeFoodError, match="SEEFOOD_COLLECT has '"):
        CollectRules.parse(text)


def test_the_reason_is_the_strongest() -> None:
    both = Verdict("hotdog", positive=True, probability=0.5, uncertain=True, unfamiliar=True)
    assert CollectRules(uncertain=True, unfamiliar=True, share=1).reason(both) == "unfamiliar"
    assert CollectRules(share=0).reason(both) is None
