"""Responses of /v1, with a model that classifies red as hotdog and blue as not hotdog."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from service.errors import DeadlineExceeded
from service.inference import Inference
from service.metadata import RESERVED_LABELS
from service.model import Model
from service.settings import Settings
from tests.conftest import MakeApp
from tests.fixtures.drawing import draw, encode
from tests.fixtures.painting import BLUE, RED, YELLOW
from tests.fixtures.tiny_model import METADATA, write_old_model


def _post(client: FlaskClient, *photos: tuple[bytes, str], field: str = "image") -> TestResponse:
    files = [(io.BytesIO(data), name) for data, name in photos]
    return client.post("/v1/predict", data={field: files}, content_type="multipart/form-data")


def _json(client: FlaskClient, body: Any) -> TestResponse:
    return client.post("/v1/predict", data=body, content_type="application/json")


def test_a_form_with_one_photo(client: FlaskClient) -> None:
    answer = _post(client, (RED, "red.png"))
    assert answer.status_code == 200
    body = answer.get_json()
    assert list(body) == ["predictions", "model", "timing_ms", "request_id"]
    (prediction,) = body["predictions"]
    probability = prediction.pop("probability")
    assert 0.99 < probability <= 1
    assert prediction == {
        "label": "hotdog",
        "hotdog": True,
        "uncertain": False,
        "unfamiliar": False,
        "filename": "red.png",
    }
    assert body["model"] == {"name": "hotdog", "version": "tiny"}
    assert set(body["timing_ms"]) == {"decode", "queue", "inference"}
    assert body["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("heatmap", ["true", "png"])
def test_no_label_can_have_the_name_of_another_field(client: FlaskClient, heatmap: str) -> None:
    answer = client.post(f"/v1/predict?heatmap={heatmap}", data=RED, content_type="image/png")
    assert answer.get_json()["predictions"][0].keys() - {"hotdog"} <= set(RESERVED_LABELS)


def test_a_form_with_several_photos_is_answered_in_order(client: FlaskClient) -> None:
    body = _post(client, (RED, "1.png"), (BLUE, "2.png"), (RED, "3.png")).get_json()
    assert [(p["filename"], p["hotdog"]) for p in body["predictions"]] == [
        ("1.png", True),
        ("2.png", False),
        ("3.png", True),
    ]


def test_a_photo_unlike_the_training_photos_is_unfamiliar(client: FlaskClient) -> None:
    body = _post(client, (RED, "red.png"), (YELLOW, "yellow.png")).get_json()
    assert [(p["label"], p["unfamiliar"]) for p in body["predictions"]] == [("hotdog", False), ("hotdog", True)]


def test_a_model_without_familiarity_answers_without_it(make_app: MakeApp, tmp_path: Path) -> None:
    client = make_app(Settings(), Model(write_old_model(tmp_path / "old.onnx"))).test_client()
    (prediction,) = _post(client, (YELLOW, "yellow.png")).get_json()["predictions"]
    assert set(prediction) == {"label", "hotdog", "probability", "uncertain", "filename"}
    assert client.get("/v1/model").get_json()["familiarity_level"] is None


def test_a_raw_body(client: FlaskClient) -> None:
    (prediction,) = client.post("/v1/predict", data=BLUE, content_type="image/png").get_json()["predictions"]
    assert (prediction["label"], prediction["filename"]) == ("not_hotdog", None)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_json_body(client: FlaskClient, prefix: str) -> None:
    body = json.dumps({"image": prefix + base64.b64encode(RED).decode()})
    (prediction,) = _json(client, body).get_json()["predictions"]
    assert (prediction["hotdog"], prediction["filename"]) == (True, None)


def test_the_format_follows_the_bytes_and_not_the_content_type(client: FlaskClient) -> None:
    assert client.post("/v1/predict", data=RED, content_type="image/jpeg").status_code == 200


def test_the_model_describes_itself(client: FlaskClient) -> None:
    body = client.get("/v1/model").get_json()
    for name, value in METADATA.to_properties().items():
        assert name in body, value
    assert body["familiarity_level"] == -128
    assert (body["device"], body["input_size"], body["file"]) == ("cpu", 64, "model.int8.onnx")
    assert body["service_version"] == version("seefood")


def test_it_is_alive_and_ready(client: FlaskClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").get_json() == {"status": "ready", "model": "tiny", "device": "cpu"}


def test_it_is_not_ready_before_the_warm_up(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.application.extensions["model_manager"].current.model, "warm", False)
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["type"] == "urn:problem-type:seefood:not-ready"


def test_the_page_and_its_files_are_there(client: FlaskClient) -> None:
    with client.get("/") as answer:
        page = answer.get_data(as_text=True)
    for name in ("web/page.css", "web/app.js", "web/icon.svg"):
        assert name in page
        with client.get(f"/{name}") as answer:
            assert answer.status_code == 200
    assert "http" not in page, "the page loads nothing from other hosts"


BAD_PHOTOS = {
    "no bytes": (b"", 400, "no-image"),
    "random bytes": (bytes(range(256)) * 9, 400, "undecodable-photo"),
    "text": (b"I am not a hotdog.\n", 400, "undecodable-photo"),
    "a truncated JPEG": (encode(draw("hotdog", 1, (320, 240)))[:3000], 400, "undecodable-photo"),
    "a truncated PNG": (encode(draw("hotdog", 1, (320, 240)), "PNG")[:900], 400, "undecodable-photo"),
    "a TIFF": (encode(draw("hotdog", 1), "TIFF"), 415, "unsupported-photo"),
    "a PDF": (b"%PDF-1.7\n" + b" " * 50, 415, "unsupported-photo"),
    "too many pixels": (encode(Image.new("1", (2000, 1000)), "PNG"), 413, "photo-too-large"),
    "too many bytes": (b"\xff" * 200_001, 413, "photo-too-large"),
    "far too many bytes": (b"\xff" * 400_000, 413, "request-entity-too-large"),
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
@pytest.mark.parametrize("way", ["form", "raw", "json"])
def test_a_bad_photo_gets_its_problem(client: FlaskClient, way: str, name: str) -> None:
    data, status, slug = BAD_PHOTOS[name]
    if way == "form":
        answer = _post(client, (data, "bad.jpg"))
    elif way == "raw":
        answer = client.post("/v1/predict", data=data, content_type="image/jpeg")
    else:
        answer = _json(client, json.dumps({"image": base64.b64encode(data).decode()}))
    _check_problem(answer, status, slug)


def test_a_bad_photo_among_several_gets_its_problem_in_its_place(client: FlaskClient) -> None:
    answer = _post(client, (RED, "1.png"), (b"broken", "2.png"), (BLUE, "3.png"))
    assert answer.status_code == 200
    first, second, third = answer.get_json()["predictions"]
    assert (first["filename"], first["hotdog"], third["filename"], third["hotdog"]) == ("1.png", True, "3.png", False)
    assert second.pop("detail").startswith("2.png: ")
    assert second == {
        "type": "urn:problem-type:seefood:undecodable-photo",
        "title": "The photo can't be decoded",
        "status": 400,
        "filename": "2.png",
    }


def test_only_bad_photos_get_the_problem_of_the_first(client: FlaskClient) -> None:
    answer = _post(client, (b"broken", "bad.png"), (b"", "empty.png"))
    _check_problem(answer, 400, "undecodable-photo")
    assert answer.get_json()["detail"].startswith("bad.png: ")


def test_the_heatmap_is_returned_on_request(client: FlaskClient) -> None:
    (plain,) = _json(client, json.dumps({"image": base64.b64encode(RED).decode()})).get_json()["predictions"]
    assert "heatmap" not in plain
    answer = client.post("/v1/predict?heatmap=true", data=RED, content_type="image/png")
    (prediction,) = answer.get_json()["predictions"]
    heatmap = np.array(prediction.pop("heatmap"))
    assert prediction == plain
    assert heatmap.shape == (2, 2)
    assert 1 / (1 + np.exp(-heatmap.mean())) == pytest.approx(prediction["probability"], abs=1e-3)


def test_an_overloaded_service_refuses_before_the_body_is_read(client: FlaskClient) -> None:
    with _room_for(client, 0):
        answer = client.post("/v1/predict", data=b"not even a photo", content_type="image/png")
    _check_problem(answer, 429, "too-many-requests")
    assert answer.headers["Retry-After"] == "1"


def test_a_lack_of_memory_is_logged(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("service.v1.classify_photos", fail)
    _check_problem(_post(client, (RED, "1.png")), 429, "too-many-requests")
    assert "no memory for a request" in caplog.messages


def test_several_photos_are_admitted_together_or_not_at_all(client: FlaskClient) -> None:
    with _room_for(client, 1):
        _check_problem(_post(client, (RED, "1.png"), (RED, "2.png")), 429, "too-many-requests")
        assert _post(client, (RED, "1.png")).status_code == 200
    assert _post(client, (RED, "1.png"), (RED, "2.png")).status_code == 200


@contextmanager
def _room_for(client: FlaskClient, count: int) -> Iterator[None]:
    """Reserve all photos in flight except `count`."""
    admission = client.application.extensions["admission"]
    with admission.reserved(admission.max_in_flight - count):
        yield


def test_a_photo_past_its_deadline_gets_504(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise DeadlineExceeded

    monkeypatch.setattr(Inference, "predict", never)
    answer = client.post("/v1/predict", data=RED, content_type="image/png")
    _check_problem(answer, 504, "deadline-passed")


BAD_REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no content type": ({"data": RED}, 415, "unsupported-media-type"),
    "a form of text": ({"data": {"image": "red.png"}}, 415, "unsupported-media-type"),
    "plain text": ({"data": b"hello", "content_type": "text/plain"}, 415, "unsupported-media-type"),
    "a form without photos": ({"data": b"", "content_type": "multipart/form-data; boundary=x"}, 400, "no-image"),
    "a form without a boundary": ({"data": RED, "content_type": "multipart/form-data"}, 400, "bad-form"),
    "a form of rubbish": ({"data": RED, "content_type": "multipart/form-data; boundary=x"}, 400, "bad-form"),
    "JSON that is none": ({"data": b"{", "content_type": "application/json"}, 400, "bad-json"),
    "JSON in no encoding": ({"data": b"\xff\xfe\xfd", "content_type": "application/json"}, 400, "bad-json"),
    "JSON without a photo": ({"data": b"{}", "content_type": "application/json"}, 400, "bad-json"),
    "a JSON list": ({"data": b"[1]", "content_type": "application/json"}, 400, "bad-json"),
    "a number as photo": ({"data": b'{"image": 1}', "content_type": "application/json"}, 400, "bad-json"),
    "no base64": ({"data": b'{"image": "\\u00e4!"}', "content_type": "application/json"}, 400, "bad-json"),
    "JSON without end": ({"data": b"[" * 9_000, "content_type": "application/json"}, 400, "bad-json"),
    "JSON of many values": ({"data": b"[" * 10_001, "content_type": "application/json"}, 413, "too-many-values"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_gets_its_problem(client: FlaskClient, name: str) -> None:
    request, status, slug = BAD_REQUESTS[name]
    _check_problem(client.post("/v1/predict", **request), status, slug)


def test_a_form_field_of_another_name_is_ignored(client: FlaskClient) -> None:
    _check_problem(_post(client, (RED, "red.png"), field="photo"), 400, "no-image")


def test_a_form_without_a_chosen_file_has_no_photo(client: FlaskClient) -> None:
    _check_problem(_post(client, (b"", "")), 400, "no-image")


def test_too_many_photos(client: FlaskClient) -> None:
    _check_problem(_post(client, *[(RED, f"{i}.png") for i in range(4)]), 413, "too-many-photos")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_a_wrong_method(client: FlaskClient, method: str) -> None:
    answer = client.open("/v1/predict", method=method)
    _check_problem(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/predict/", "/web/../app.py", "/web/nothing.js", "/%00"])
def test_an_unknown_path(client: FlaskClient, path: str) -> None:
    _check_problem(client.get(path), 404, "not-found")


def test_an_internal_error_shows_no_traceback(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client.application.extensions["model_manager"].current.model, "run", fail)
    answer = client.post("/v1/predict", data=RED, content_type="image/png")
    _check_problem(answer, 500, "internal-server-error")
    assert b"secret" not in answer.data


def _check_problem(answer: TestResponse, status: int, slug: str) -> None:
    body = json.loads(answer.data)
    assert (answer.status_code, body["type"]) == (status, f"urn:problem-type:seefood:{slug}")
    assert answer.content_type == "application/problem+json"
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == status
    assert body["detail"].endswith(".")
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in body["detail"]
