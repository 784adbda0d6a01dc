"""Photos with their correct label are stored once, without metadata, within limits, and only if feedback is on."""

import base64
import io
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from service.cli import main
from service.errors import SeeFoodError
from service.inbox import review
from service.inbox.records import Limits
from service.inbox.review import Filter
from service.inbox.store import PHOTOS, Inbox, create_inbox
from service.model import Model
from service.settings import Settings
from tests.conftest import MakeApp, MakeClient
from tests.fixtures.disk import read_only  # noqa: F401 - a fixture
from tests.fixtures.drawing import draw, encode
from tests.fixtures.server import BOUNDARY, free_port, multipart, serving
from tests.fixtures.tiny_model import METADATA, write_tiny_model

PHOTO = encode(draw("hotdog", 1))
GPS = 0x8825


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "given" / "feedback"


@pytest.fixture
def enabled(make_client: MakeClient, folder: Path) -> FlaskClient:
    """Return a client of an application with feedback on."""
    return make_client(feedback_dir=str(folder))


def _send(client: FlaskClient, photo: bytes = PHOTO, label: str = "hotdog") -> TestResponse:
    return client.post("/v1/feedback", query_string={"label": label}, data=photo, content_type="image/jpeg")


def _stored(folder: Path) -> dict[str, bytes]:
    """Return the content of all photos of an inbox, also of unfinished ones."""
    return {path.name: path.read_bytes() for path in (folder / PHOTOS).iterdir()} if folder.exists() else {}


def _inbox(folder: Path) -> Inbox:
    return Inbox(folder, Limits(10_000_000, 1000, 1000))


def _photos(folder: Path) -> list[dict[str, Any]]:
    return review.photos(_inbox(folder), Filter(), "waiting", 1000)


def _check_problem(answer: TestResponse, status: int, slug: str) -> str:
    body = json.loads(answer.data)
    assert (answer.status_code, body["type"]) == (status, f"urn:problem-type:seefood:{slug}")
    assert body["detail"].endswith(".")
    return str(body["detail"])


def test_feedback_is_off_by_default(client: FlaskClient) -> None:
    assert "SEEFOOD_FEEDBACK_DIR" in _check_problem(_send(client), 404, "feedback-off")


def _form(photo: bytes, label: str) -> dict[str, Any]:
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="label"\r\n\r\n{label}\r\n'.encode()
    body = field + multipart(photo, filename="../../etc/passwd.jpg")
    return {"data": body, "content_type": f"multipart/form-data; boundary={BOUNDARY}"}


def _raw(photo: bytes, label: str) -> dict[str, Any]:
    return {"data": photo, "query_string": {"label": label}, "content_type": "image/jpeg"}


def _json(photo: bytes, label: Any) -> dict[str, Any]:
    body = {"image": base64.b64encode(photo).decode(), "label": label}
    return {"data": json.dumps(body), "content_type": "application/json"}


WAYS = (_form, _raw, _json)


def _with_metadata() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(GPS)[1] = "N"
    exif[0x0112] = 6  # to be turned by 90 degrees
    return encode(draw("hotdog", 2, (96, 40)), exif=exif, comment=b"the secret") + b"hidden behind the picture"


@pytest.mark.parametrize("way", WAYS)
def test_a_photo_is_stored_without_metadata(
    enabled: FlaskClient, folder: Path, way: Callable[..., dict[str, Any]]
) -> None:
    photo = _with_metadata()
    answer = enabled.post("/v1/feedback", **way(photo, "not_hotdog"))
    assert (answer.status_code, answer.get_json()["stored"]) == (201, True)
    ((name, data),) = _stored(folder).items()
    assert name == f"{sha256(data).hexdigest()}.jpg"
    stored = Image.open(io.BytesIO(data))
    assert (stored.size, dict(stored.getexif())) == ((40, 96), {}), "upright, without place and orientation"
    assert b"secret" not in data
    assert b"hidden" not in data


def test_a_photo_is_kept_as_it_was_sent_where_the_operator_says_so(make_client: MakeClient, folder: Path) -> None:
    photo = _with_metadata()
    keeping = make_client(feedback_dir=str(folder), feedback_exif="keep")
    assert [_send(keeping, photo).status_code for _ in range(2)] == [201, 200]
    assert _stored(folder) == {f"{sha256(photo).hexdigest()}.jpg": photo}


def test_a_kept_photo_has_the_suffix_of_its_bytes(make_client: MakeClient, folder: Path) -> None:
    keeping = make_client(feedback_dir=str(folder), feedback_exif="keep")
    for seed, kind in enumerate(("PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP")):
        assert _send(keeping, encode(draw("hotdog", seed), kind)).status_code == 201
    assert {Path(name).suffix for name in _stored(folder)} == {".png", ".webp", ".heic", ".avif", ".gif", ".bmp"}


def test_a_sender_has_one_vote_for_a_photo_which_is_stored_once(enabled: FlaskClient, folder: Path) -> None:
    assert [_send(enabled).status_code for _ in range(3)] == [201, 200, 200]
    assert _send(enabled).get_json() == {"stored": False}
    assert _send(enabled, label="not_hotdog").status_code == 201
    assert _send(enabled, label="not_hotdog").get_json() == {"stored": False}
    assert len(_stored(folder)) == 1
    (photo,) = _photos(folder)
    assert [vote["label"] for vote in photo["votes"]] == ["not_hotdog"], "the last one counts"


def test_a_receipt_deletes_its_photo_once(enabled: FlaskClient, folder: Path) -> None:
    receipt = _send(enabled).get_json()["receipt"]
    other = encode(draw("hotdog", 4))
    _send(enabled, other)
    answer = enabled.delete(f"/v1/feedback/{receipt}")
    assert (answer.status_code, answer.data) == (204, b"")
    (photo,) = _photos(folder)
    assert list(_stored(folder)) == [photo["file"]]
    _check_problem(enabled.delete(f"/v1/feedback/{receipt}"), 404, "unknown-receipt")


def test_a_receipt_deletes_its_photo_under_another_label(enabled: FlaskClient, folder: Path) -> None:
    receipt = _send(enabled).get_json()["receipt"]
    _send(enabled, label="not_hotdog")
    assert enabled.delete(f"/v1/feedback/{receipt}").status_code == 204
    assert not _stored(folder)


def test_a_receipt_is_valid_after_a_restart_and_in_this_folder_only(
    make_client: MakeClient, folder: Path, tmp_path: Path
) -> None:
    receipt = _send(make_client(feedback_dir=str(folder))).get_json()["receipt"]
    other = make_client(feedback_dir=str(tmp_path / "other"))
    _send(other)
    _check_problem(other.delete(f"/v1/feedback/{receipt}"), 404, "unknown-receipt")
    assert make_client(feedback_dir=str(folder)).delete(f"/v1/feedback/{receipt}").status_code == 204
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("receipt", ["1", "1.", f"1.{'0' * 64}", f"{9**20}.x", "-1.x", "²", "x", "é", "%ff", "."])
def test_a_receipt_cant_be_guessed(enabled: FlaskClient, folder: Path, receipt: str) -> None:
    _send(enabled)
    assert enabled.delete(f"/v1/feedback/{receipt}").status_code == 404
    assert len(_stored(folder)) == 1


def test_a_receipt_is_unknown_where_feedback_is_off(client: FlaskClient) -> None:
    _check_problem(client.delete("/v1/feedback/x.y"), 404, "feedback-off")


def test_the_model_says_whether_feedback_is_on(client: FlaskClient, enabled: FlaskClient) -> None:
    assert [each.get("/v1/model").get_json()["feedback"] for each in (client, enabled)] == [False, True]


@pytest.mark.parametrize("label", ["", "pizza", "Hotdog", "../hotdog", "hotdog/../../x", "/tmp", "hotdog\0"])  # noqa: S108
@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_label_is_refused(
    enabled: FlaskClient, folder: Path, way: Callable[..., dict[str, Any]], label: str
) -> None:
    detail = _check_problem(enabled.post("/v1/feedback", **way(PHOTO, label)), 400, "unknown-label")
    assert "hotdog or not_hotdog" in detail
    assert not _stored(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["feedback"]


def test_a_missing_or_non_string_label_is_refused(enabled: FlaskClient) -> None:
    for label in (None, 1, ["hotdog"], {"hotdog": 1}):
        _check_problem(enabled.post("/v1/feedback", **_json(PHOTO, label)), 400, "unknown-label")
    assert "no label" in _check_problem(
        enabled.post("/v1/feedback", data=PHOTO, content_type="image/jpeg"), 400, "unknown-label"
    )


@pytest.mark.parametrize(
    ("photo", "status", "slug"),
    [
        (b"", 400, "no-image"),
        (b"I am not a hotdog.", 400, "undecodable-photo"),
        (PHOTO[: len(PHOTO) // 2], 400, "undecodable-photo"),
        (encode(draw("hotdog", 1), "TIFF"), 415, "unsupported-photo"),
        (encode(Image.new("1", (2000, 1000)), "PNG"), 413, "photo-too-large"),
        (b"\xff" * 200_001, 413, "photo-too-large"),
        (b"\xff" * 400_000, 413, "request-entity-too-large"),
    ],
)
def test_an_undecodable_photo_is_not_stored(
    enabled: FlaskClient, folder: Path, photo: bytes, status: int, slug: str
) -> None:
    _check_problem(_send(enabled, photo), status, slug)
    assert not _stored(folder)


def test_feedback_takes_one_photo_and_counts_as_in_flight(enabled: FlaskClient, folder: Path) -> None:
    files = [(io.BytesIO(PHOTO), "1.jpg"), (io.BytesIO(PHOTO), "2.jpg")]
    answer = enabled.post("/v1/feedback", data={"image": files, "label": "hotdog"}, content_type="multipart/form-data")
    _check_problem(answer, 413, "too-many-photos")
    admission = enabled.application.extensions["admission"]
    with admission.reserved(admission.max_in_flight):
        _check_problem(_send(enabled), 429, "too-many-requests")
    assert not _stored(folder)


def test_settings_that_need_an_inbox_name_it() -> None:
    for name, value in (("collect", "uncertain"), ("review_key", "0123456789abcdef")):
        with pytest.raises(SeeFoodError, match=f"SEEFOOD_{name.upper()} needs an inbox"):
            create_inbox(Settings(**{name: value}))  # type: ignore[arg-type]


def _start(folder: Path) -> str:
    with pytest.raises(SeeFoodError) as caught:
        _inbox(folder)
    return str(caught.value)


def test_an_unusable_folder_is_a_startup_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert _start(tmp_path / "file").startswith(f"{tmp_path / 'file'} can't be used: ")
    (tmp_path / PHOTOS).touch()
    assert "name a folder that can be written to" in _start(tmp_path)


def test_a_read_only_folder_is_a_startup_error(read_only: Path) -> None:  # noqa: F811
    assert "Read-only file system" in _start(read_only / "feedback")


def test_the_command_reports_an_unusable_folder(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {"SEEFOOD_MODELS": str(tiny_models), "SEEFOOD_FEEDBACK_DIR": str(tmp_path / "file")}
    ended = CliRunner().invoke(main, ["serve", "--port", str(free_port())], env=environment)
    assert ended.exit_code == 2
    assert ended.output.startswith("seefood: SEEFOOD_FEEDBACK_DIR: ")
    assert ended.output.count("\n") == 1


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/feedback"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_stored_or_logged_if_feedback_is_off(
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    way: Callable[..., dict[str, Any]],
) -> None:
    """A large form is in an unnamed temporary file while it is read, which must be closed at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    caplog.set_level(logging.DEBUG)
    photo = encode(draw("hotdog", 7, (640, 480)), "BMP")
    assert len(photo) > 500_000 > len(PHOTO), "above this size, forms are spooled to a file"
    roomy = make_client(max_bytes=2_000_000)
    before = _open_files()
    statuses = [roomy.post(path, **way(sent, "hotdog")).status_code for sent in (photo, PHOTO, photo[:-1000])]
    assert statuses == ([404] * 3 if path == "/v1/feedback" else [200, 200, 400])
    assert _open_files() == before
    assert list(tmp_path.iterdir()) == []
    assert "passwd" not in caplog.text, "the file name is not logged either"


def _open_files() -> list[str]:
    """Return the files that this process has open, also deleted ones, if the system has /proc."""
    folder = Path("/proc/self/fd")
    links = [str(path.readlink()) for path in folder.iterdir() if path.is_symlink()] if folder.exists() else []
    return sorted(link for link in links if link.startswith("/") and not link.startswith("/proc/"))


@pytest.mark.slow
def test_large_feedback_is_stored_once_and_refused_feedback_gets_a_response(tiny_models: Path, folder: Path) -> None:
    big = PHOTO + bytes(10_000_000)
    with serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(folder)) as server:
        for label, status in (("hotdog", 201), ("hotdog", 200), ("not_hotdog", 201), ("not_hotdog", 200)):
            for _ in range(1 if status == 201 else 4):
                assert server.request("POST", f"/v1/feedback?label={label}", big, "image/jpeg").status == status
    assert len(_stored(folder)) == 1
    with serving(tiny_models) as server:
        for _ in range(5):
            assert server.request("POST", "/v1/feedback?label=hotdog", PHOTO, "image/jpeg").status == 404
            form = f"multipart/form-data; boundary={BOUNDARY}"
            assert server.request("POST", "/v1/feedback", multipart(PHOTO), form).status == 404
            assert server.request("POST", "/v1/predict?heatmap=no", PHOTO, "image/jpeg").status == 400


def test_the_labels_are_those_of_the_model(make_app: MakeApp, tmp_path: Path, folder: Path) -> None:
    named = replace(METADATA, positive_label="cat", negative_label="dog")
    model = Model(write_tiny_model(tmp_path / "cats.onnx", named.to_properties()))
    cats = make_app(Settings(feedback_dir=str(folder)), model).test_client()
    assert _send(cats, label="dog").status_code == 201
    assert "cat or dog" in _check_problem(_send(cats), 400, "unknown-label")
    assert [photo["votes"][0]["label"] for photo in _photos(folder)] == ["dog"]


def _senders(folder: Path) -> set[str]:
    return {vote["sender"] for photo in _photos(folder) for vote in photo["votes"]}


@pytest.mark.parametrize(("proxies", "senders"), [(0, 1), (1, 2)])
def test_a_proxy_tells_the_address_of_its_client_where_the_operator_says_so(
    make_client: MakeClient, folder: Path, proxies: int, senders: int
) -> None:
    """A client can put addresses before the one that the proxy adds. The service ignores them."""
    behind = make_client(feedback_dir=str(folder), proxies=proxies)
    for seed, client in enumerate(("198.51.100.1", "198.51.100.2", "198.51.100.2")):
        header = {"X-Forwarded-For": f"203.0.113.{seed}, {client}"}
        photo = encode(draw("hotdog", seed))
        sent = behind.post("/v1/feedback?label=hotdog", data=photo, content_type="image/jpeg", headers=header)
        assert sent.status_code == 201
    assert len(_senders(folder)) == senders


def test_a_key_is_known_by_its_id(make_client: MakeClient, folder: Path) -> None:
    keyed = make_client(feedback_dir=str(folder), api_keys="key-of-one,key-of-two")
    for header in ({"Authorization": "Bearer key-of-two"}, {"X-API-Key": "key-of-two"}, {"X-API-Key": "key-of-one"}):
        keyed.post("/v1/feedback?label=hotdog", data=PHOTO, content_type="image/jpeg", headers=header)
    ids = {sha256(key).hexdigest()[:12] for key in (b"key-of-one", b"key-of-two")}
    assert _senders(folder) == {f"key {each}" for each in ids}


def test_a_quota_is_an_answer_with_the_time_to_wait(make_client: MakeClient, folder: Path) -> None:
    limited = make_client(feedback_dir=str(folder), feedback_per_address=1)
    assert _send(limited).status_code == 201
    refused = _send(limited, encode(draw("hotdog", 2)))
    assert "address has sent 1 photos" in _check_problem(refused, 429, "feedback-quota")
    assert 86000 < int(refused.headers["Retry-After"]) <= 86400
    assert len(_stored(folder)) == 1
