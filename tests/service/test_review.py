"""The requests of the review: its own key, decisions with their audit, and nothing that a browser keeps."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from service.errors import SeeFoodError
from service.inbox import review
from service.inbox.records import CORRECTION
from service.inbox.senders import key_id
from service.inbox.store import Inbox
from service.settings import Settings
from tests.conftest import MakeClient
from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw, encode
from tests.fixtures.inbox import make_inbox, new_photo, sender, verdict

KEY = "0123456789abcdef0123"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    inbox = make_inbox(tmp_path / "inbox")
    for seed in range(3):
        inbox.add(new_photo(seed), sender(1), CORRECTION, verdict(0.9), "not_hotdog")
    return inbox


@pytest.fixture
def reviewer(make_client: MakeClient, inbox: Inbox) -> FlaskClient:
    return make_client(feedback_dir=str(inbox.folder), review_key=f"another-key-of-somebody, {KEY}")


def _problem(answer: TestResponse, status: int, slug: str) -> str:
    body = json.loads(answer.data)
    assert (answer.status_code, body["type"]) == (status, f"urn:problem-type:seefood:{slug}"), body
    return str(body["detail"])


def _decide(client: FlaskClient, *decisions: Any) -> TestResponse:
    return client.post("/review/decisions", json={"decisions": decisions}, headers=HEADERS)


ROUTES = ("/review/photos", "/review/photos/1", "/review/photos/1/heatmap")


def test_the_review_is_off_by_default(make_client: MakeClient, inbox: Inbox) -> None:
    for client in (make_client(), make_client(feedback_dir=str(inbox.folder))):
        for route in ("/review", *ROUTES):
            assert "SEEFOOD_REVIEW_KEY" in _problem(client.get(route, headers=HEADERS), 404, "review-off")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {KEY}", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x"])
def test_every_request_needs_the_key(reviewer: FlaskClient, header: str) -> None:
    for route in ROUTES:
        _problem(reviewer.get(route, headers={"Authorization": header}), 401, "unauthorized")
    body = {"decisions": [{"id": 1, "state": "dropped"}]}
    answer = reviewer.post("/review/decisions", json=body, headers={"Authorization": header})
    _problem(answer, 401, "unauthorized")
    reviewer.set_cookie("key", KEY)
    _problem(reviewer.post("/review/decisions", json=body), 401, "unauthorized")
    with reviewer.get("/review") as page:
        assert page.status_code == 200, "the page itself has no photo in it"


def test_api_keys_do_not_open_the_review_nor_the_reverse(make_client: MakeClient, inbox: Inbox) -> None:
    both = make_client(feedback_dir=str(inbox.folder), review_key=KEY, api_keys="the-api-key-of-clients")
    header = {"Authorization": "Bearer the-api-key-of-clients"}
    _problem(both.get("/review/photos", headers=header), 401, "unauthorized")
    _problem(both.get("/v1/model", headers=HEADERS), 401, "unauthorized")
    assert both.get("/review/photos", headers=HEADERS).status_code == 200


def test_nothing_is_kept_by_browsers_and_proxies(reviewer: FlaskClient) -> None:
    for route in ("/review", *ROUTES, "/review/photos/99"):
        with reviewer.get(route, headers=HEADERS) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in answer.headers
    assert reviewer.get("/review/photos").headers["Cache-Control"] == "no-store", "also of a refusal"


def test_photos_are_listed_with_votes_and_counts(reviewer: FlaskClient, inbox: Inbox) -> None:
    inbox.add(new_photo(1), sender(2), CORRECTION, verdict(0.9), "hotdog")
    found = reviewer.get("/review/photos?conflict=true", headers=HEADERS).get_json()
    assert found["counts"] == {"waiting": 1, "accepted": 0, "dropped": 0}
    (photo,) = found["photos"]
    assert photo["conflict"]
    assert [vote["label"] for vote in photo["votes"]] == ["not_hotdog", "hotdog"]
    assert photo["model"] == {"version": "tiny", "label": "hotdog", "probability": 0.9, "unfamiliar": False}
    assert (found["positive_label"], found["negative_label"]) == ("hotdog", "not_hotdog")
    assert len(reviewer.get("/review/photos", headers=HEADERS).get_json()["photos"]) == 3


@pytest.mark.parametrize(
    "query", ["state=x", "reason=typo", "conflict=1", "after=1", "after=x,y", "after=1,2,3", "after=", "after=nan,1"]
)
def test_a_bad_parameter_is_named(reviewer: FlaskClient, query: str) -> None:
    _problem(reviewer.get(f"/review/photos?{query}", headers=HEADERS), 400, "bad-parameter")


def test_pages_of_the_list_follow_each_other(reviewer: FlaskClient, inbox: Inbox) -> None:
    for seed in range(3, 70):
        inbox.add(new_photo(seed), sender(1), CORRECTION, verdict(0.9), "not_hotdog")
    first = reviewer.get("/review/photos", headers=HEADERS).get_json()
    second = reviewer.get("/review/photos", query_string={"after": first["after"]}, headers=HEADERS).get_json()
    assert (len(first["photos"]), len(second["photos"]), second["after"]) == (60, 10, None)
    assert len({photo["id"] for photo in first["photos"] + second["photos"]}) == 70


def test_a_photo_and_its_heatmap(reviewer: FlaskClient, inbox: Inbox) -> None:
    answer = reviewer.get("/review/photos/1", headers=HEADERS)
    assert answer.content_type == "image/jpeg"
    (found,) = [each for each in review.photos(inbox, review.Filter(), "waiting", 9) if each["id"] == 1]
    shown, stored = (Image.open(io.BytesIO(each)) for each in (answer.data, inbox.path(found["file"]).read_bytes()))
    assert (shown.format, shown.size) == ("JPEG", stored.size)
    evidence = reviewer.get("/review/photos/1/heatmap", headers=HEADERS).get_json()
    assert len(evidence["heatmap"]) == 2
    assert 0 <= evidence["probability"] <= 1
    for number in ("99", str(2**70)):
        _problem(reviewer.get(f"/review/photos/{number}", headers=HEADERS), 404, "unknown-photo")
    inbox.path(found["file"]).unlink()
    _problem(reviewer.get("/review/photos/1", headers=HEADERS), 404, "unknown-photo")


def test_a_photo_that_was_kept_unchanged_is_shown_without_its_metadata(make_client: MakeClient, tmp_path: Path) -> None:
    keeping = make_client(feedback_dir=str(tmp_path / "kept"), feedback_exif="keep", review_key=KEY)
    photo = encode(draw("hotdog", 1), "HEIF")
    assert keeping.post("/v1/feedback?label=hotdog", data=photo, content_type="image/heic").status_code == 201
    assert keeping.get("/review/photos/1", headers=HEADERS).data.startswith(b"\xff\xd8\xff")


def test_a_photo_that_was_kept_before_is_shown_without_its_metadata(make_client: MakeClient, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "the camera"
    photo = encode(draw("hotdog", 1), exif=exif.tobytes())
    for kept in ("keep", "drop"):
        client = make_client(feedback_dir=str(tmp_path / "kept"), feedback_exif=kept, review_key=KEY)
        if kept == "keep":
            assert client.post("/v1/feedback?label=hotdog", data=photo, content_type="image/jpeg").status_code == 201
        assert b"the camera" not in client.get("/review/photos/1", headers=HEADERS).data


def test_decisions_are_recorded_with_the_reviewer_and_can_be_undone(reviewer: FlaskClient, inbox: Inbox) -> None:
    one = {"id": 1, "state": "accepted", "label": "hotdog"}
    answer = _decide(reviewer, one, {"id": 2, "state": "dropped", "label": None}, {"id": 99, "state": "dropped"})
    before = answer.get_json()["before"]
    assert before == [{"id": 1, "state": "waiting", "label": None}, {"id": 2, "state": "waiting", "label": None}]
    assert _decide(reviewer, *before).get_json()["before"][0] == one
    lines = review.audit_lines(inbox)
    assert {line["who"] for line in lines} == {f"reviewer {key_id(KEY.encode())}"}
    assert [(line["before"], line["after"]) for line in lines] == [
        ("waiting", "accepted hotdog"),
        ("waiting", "dropped"),
        ("accepted hotdog", "waiting"),
        ("dropped", "waiting"),
    ]


@pytest.mark.parametrize(
    ("decision", "status", "slug"),
    [
        ({"id": 1, "state": "accepted", "label": "pizza"}, 400, "unknown-label"),
        ({"id": 1, "state": "accepted"}, 400, "unknown-label"),
        ({"id": 1, "state": "accepted", "label": ["hotdog"]}, 400, "unknown-label"),
        ({"id": 1, "state": "dropped", "label": "hotdog"}, 400, "unknown-label"),
        ({"id": 1, "state": "gone"}, 400, "unknown-label"),
        ({"id": "1", "state": "dropped"}, 400, "bad-json"),
        ({"id": True, "state": "dropped"}, 400, "bad-json"),
        ({"id": 2**70, "state": "dropped"}, 400, "bad-json"),
        ({"state": "dropped"}, 400, "bad-json"),
        ("x", 400, "bad-json"),
        (None, 400, "bad-json"),
    ],
)
def test_a_bad_decision_changes_nothing(
    reviewer: FlaskClient, inbox: Inbox, decision: Any, status: int, slug: str
) -> None:
    _problem(_decide(reviewer, {"id": 2, "state": "dropped"}, decision), status, slug)
    assert review.audit_lines(inbox) == []


def test_too_many_decisions_are_refused(reviewer: FlaskClient) -> None:
    many = [{"id": 1, "state": "dropped"}] * 1001
    _problem(_decide(reviewer, *many), 413, "too-many-values")


@pytest.mark.parametrize("key", ["short", "0123456789abcdef,short", ","])
def test_a_key_that_can_be_guessed_is_a_startup_error(key: str) -> None:
    with pytest.raises(SeeFoodError, match="SEEFOOD_REVIEW_KEY has a key of fewer than 16 characters"):
        Settings(review_key=key).review_keys()


def test_the_command_does_the_same(inbox: Inbox, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = seefood(tmp_path, "inbox", "--inbox", inbox.folder, *arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    listed = run("list").splitlines()
    assert len(listed) == 3
    assert "model: hotdog 0.900" in listed[0]
    assert json.loads(run("list", "--json").splitlines()[0])["reason"] == "correction"
    assert run("accept", 1) == "1: waiting -> accepted not_hotdog\n"
    assert run("accept", 2, "--label", "hotdog") == "2: waiting -> accepted hotdog\n"
    assert run("drop", 3) == "3: waiting -> dropped\n"
    assert run("export", tmp_path / "out") == f"{tmp_path / 'out'} has 1 hotdog and 1 not_hotdog.\n"
    assert [json.loads(line)["after"] for line in run("log").splitlines()][-1] == "dropped"
    assert run("purge", "--older-than", "30d") == "0 photos deleted.\n"
    assert run("purge", "--older-than", "0d", "--accepted") == "3 photos deleted.\n"
    assert list((inbox.folder / "photos").iterdir()) == []


def test_the_command_says_what_is_wrong(inbox: Inbox, tmp_path: Path) -> None:
    inbox.add(new_photo(1), sender(2), CORRECTION, verdict(0.9), "hotdog")
    (tmp_path / "file").touch()
    for arguments, sentence in {
        ("--inbox", str(tmp_path / "file"), "import", str(tmp_path)): f"seefood: {tmp_path / 'file'} can't be used: ",
        ("--inbox", str(tmp_path / "no"), "list"): "There is no inbox",
        ("list",): "No inbox is named",
        ("--inbox", str(inbox.folder), "accept", "2"): "Photo 2 has no label that all its senders gave",
        ("--inbox", str(inbox.folder), "accept", "2", "--label", ""): "Photo 2 has no label that all its senders gave",
        ("--inbox", str(inbox.folder), "drop", "99"): "The inbox has no photo 99",
        ("--inbox", str(inbox.folder), "purge", "--older-than", "30"): "The age '30' is not valid",
    }.items():
        done = seefood(tmp_path, "inbox", *arguments)
        assert done.exit_code == 2
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_misspelt_reason_is_refused(inbox: Inbox, tmp_path: Path) -> None:
    done = seefood(tmp_path, "inbox", "--inbox", inbox.folder, "list", "--reason", "typo")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "'typo' is not one of 'correction', 'uncertain'" in done.stderr


def test_photos_of_an_earlier_version_are_imported(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    for seed, label in enumerate(("hotdog", "hotdog", "not_hotdog")):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{seed}.jpg").write_bytes(encode(draw(label, seed)))
    (folder / "hotdog" / "broken.jpg").write_bytes(b"nothing")
    for sentence in ("3 photos added, 0 were there already.\n", "0 photos added, 3 were there already.\n"):
        done = seefood(tmp_path, "inbox", "import", folder, SEEFOOD_FEEDBACK_DIR=str(folder))
        assert (done.exit_code, done.stdout) == (0, sentence)
        assert "broken.jpg: The bytes are not a photo" in done.stderr
    votes = [photo["votes"][0]["label"] for photo in review.photos(make_inbox(folder), review.Filter(), "waiting", 9)]
    assert sorted(votes) == ["hotdog", "hotdog", "not_hotdog"]


def test_an_import_deletes_no_photo(inbox: Inbox, tmp_path: Path) -> None:
    """The limit in the environment of the command may be another one than that of the service."""
    (tmp_path / "photos" / "hotdog").mkdir(parents=True)
    (tmp_path / "photos" / "hotdog" / "1.jpg").write_bytes(encode(draw("hotdog", 99)))
    before = {path.name for path in inbox.path("").iterdir()}
    arguments = ("--inbox", inbox.folder, "import", tmp_path / "photos")
    done = seefood(tmp_path, "inbox", *arguments, SEEFOOD_FEEDBACK_MAX_BYTES="1")
    assert (done.exit_code, done.stdout) == (0, "1 photos added, 0 were there already.\n")
    assert before < {path.name for path in inbox.path("").iterdir()}


@pytest.mark.parametrize("command", ["list", "accept", "drop", "export", "purge", "log", "import"])
def test_help_needs_no_inbox(tmp_path: Path, command: str) -> None:
    done = seefood(tmp_path, "inbox", command, "--help")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_missing_folder_is_not_imported(tmp_path: Path) -> None:
    done = seefood(tmp_path, "inbox", "--inbox", tmp_path / "inbox", "import", tmp_path / "photos")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"seefood: There is no folder {tmp_path / 'photos'}; name a folder")
    assert list(tmp_path.iterdir()) == [], "no inbox is made"
