"""The Open Inference Protocol: each invalid request gets one sentence, and Triton's client works."""

import io
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException
from werkzeug.test import TestResponse

from service.errors import DeadlineExceeded
from service.inference import Inference
from service.model import Model, open_model
from service.photo import Pixels, read_photo
from service.settings import Settings
from tests.conftest import MakeApp
from tests.fixtures.drawing import draw, encode
from tests.fixtures.server import Server, serving
from tests.fixtures.tiny_model import SIZE, write_old_model

INFER = "/v2/models/hotdog/infer"
COUNT = SIZE * SIZE * 3
PHOTOS = [encode(draw("hotdog", 1), "PNG"), encode(draw("not_hotdog", 2), "PNG")]
PIXELS = np.stack([read_photo(photo, SIZE) for photo in PHOTOS])


def _input(**changes: Any) -> dict[str, Any]:
    return {"name": "pixels", "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3], "data": [7] * COUNT} | changes


def _asked(pixels: Pixels, **more: Any) -> dict[str, Any]:
    return {"inputs": [_input(shape=pixels.shape, data=pixels.ravel().tolist())]} | more


def _infer(client: FlaskClient, asked: Any, binary: bytes = b"", length: int | str | None = None) -> TestResponse:
    text = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    headers = {"Inference-Header-Content-Length": str(length or len(text))} if binary or length else {}
    return client.post(INFER, data=text + binary, headers=headers)


def _expected(client: FlaskClient) -> tuple[list[float], list[list[list[float]]]]:
    files = {"image": [(io.BytesIO(photo), "photo.png") for photo in PHOTOS]}
    predictions = client.post("/v1/predict?heatmap=true", data=files).get_json()["predictions"]
    return [one["probability"] for one in predictions], [one["heatmap"] for one in predictions]


def test_the_server_and_the_model_describe_themselves(client: FlaskClient) -> None:
    assert client.get("/v2").get_json() == {
        "name": "seefood",
        "version": version("seefood"),
        "extensions": ["binary_tensor_data"],
    }
    described = client.get("/v2/models/hotdog").get_json()
    assert described == client.get("/v2/models/hotdog/versions/tiny").get_json()
    assert described == {
        "name": "hotdog",
        "versions": ["tiny"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 64, 64, 3]}],
        "outputs": [
            {"name": "probability", "datatype": "FP32", "shape": [-1]},
            {"name": "heatmap", "datatype": "FP32", "shape": [-1, 2, 2]},
            {"name": "familiarity", "datatype": "FP32", "shape": [-1]},
        ],
    }


def test_it_is_ready_after_the_warm_up_and_not_before(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/v2/health/ready").get_json() == {"live": True, "ready": True}
    paths = ("/v2/models/hotdog/ready", "/v2/models/hotdog/versions/tiny/ready")
    for path in paths:
        assert client.get(path).get_json() == {"name": "hotdog", "ready": True}
    monkeypatch.setattr(client.application.extensions["model_manager"].current.model, "warm", False)
    for path in (*paths, "/v2/health/ready"):
        _check_error(client.get(path), 503, "warm-up")
    assert client.get("/v2/health/live").get_json() == {"live": True}


@pytest.mark.parametrize("nested", [False, True])
def test_tensors_as_lists_get_the_same_predictions_as_photos(client: FlaskClient, nested: bool) -> None:
    asked = _asked(PIXELS, id="a \ud800 name", outputs=None)
    asked["inputs"][0] |= {"data": PIXELS.tolist()} if nested else {}
    body = _infer(client, asked).get_json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("hotdog", "tiny", "a \ud800 name")
    probability, heatmap, familiarity = body["outputs"]
    assert (probability["name"], probability["datatype"], probability["shape"]) == ("probability", "FP32", [2])
    assert (heatmap["name"], heatmap["datatype"], heatmap["shape"]) == ("heatmap", "FP32", [2, 2, 2])
    assert (familiarity["name"], familiarity["datatype"], familiarity["shape"]) == ("familiarity", "FP32", [2])
    expected = _expected(client)
    assert probability["data"] == pytest.approx(expected[0], abs=1e-6)
    assert heatmap["data"] == pytest.approx(np.ravel(expected[1]), abs=1e-4)
    assert familiarity["data"] == pytest.approx(-PIXELS[..., 1].mean((1, 2)), abs=1e-3)


def test_a_model_without_familiarity_has_no_such_output(make_app: MakeApp, tmp_path: Path) -> None:
    client = make_app(Settings(), Model(write_old_model(tmp_path / "old.onnx"))).test_client()
    names = ["probability", "heatmap"]
    assert [output["name"] for output in client.get("/v2/models/hotdog").get_json()["outputs"]] == names
    assert [output["name"] for output in _infer(client, _asked(PIXELS)).get_json()["outputs"]] == names
    refused = _infer(client, _asked(PIXELS, outputs=[{"name": "familiarity"}]))
    _check_error(refused, 400, "'familiarity' is not available in this form; request 'probability' or 'heatmap'")


def test_binary_data_and_lists_can_be_mixed(client: FlaskClient) -> None:
    tensor = _input(shape=PIXELS.shape, parameters={"binary_data_size": PIXELS.nbytes}, data=None)
    outputs = [{"name": "heatmap", "parameters": {"binary_data": False}}, {"name": "probability"}]
    asked = {"inputs": [tensor], "outputs": outputs, "parameters": {"binary_data_output": True}}
    answer = _infer(client, asked, PIXELS.tobytes())
    length = int(answer.headers["Inference-Header-Content-Length"])
    heatmap, probability = json.loads(answer.data[:length])["outputs"]
    assert (heatmap["name"], len(heatmap["data"]), "parameters" in heatmap) == ("heatmap", 8, False)
    assert (probability["parameters"], "data" in probability) == ({"binary_data_size": 8}, False)
    assert np.frombuffer(answer.data[length:], "<f4") == pytest.approx(_expected(client)[0], abs=1e-6)


BAD_REQUESTS: dict[str, tuple[Any, str]] = {
    "no body": (b"", "The body is not valid JSON (0 bytes)."),
    "no JSON": (b"{", "not valid JSON (1 bytes)"),
    "no encoding": (b"\xff\xfe\xfd", "not valid JSON (3 bytes)"),
    "JSON without end": (b"[" * 50_000, "not valid JSON (50000 bytes)"),
    "a number of a million digits": (b"1" * 10_000, "not valid JSON (10000 bytes)"),
    "a list": ([1], "[1] where an object"),
    "a text": ("pixels", "'pixels' where an object"),
    "a number as id": ({"id": 1, "inputs": [_input()]}, "The member id is 1; it must be a string."),
    "no inputs": ({}, "The member inputs is None; it must be a list."),
    "an object of inputs": ({"inputs": {"pixels": [1]}}, "must be a list"),
    "an empty list of inputs": ({"inputs": []}, "0 inputs"),
    "two inputs": ({"inputs": [_input(), _input()]}, "2 inputs"),
    "an input that is none": ({"inputs": [None]}, "None where an object"),
    "a list of parameters": ({"inputs": [_input()], "parameters": [1]}, "parameters is [1]; it must be an object"),
    "a text for yes": ({"inputs": [_input()], "parameters": {"binary_data_output": "yes"}}, "true or false"),
    "an object of outputs": ({"inputs": [_input()], "outputs": {"name": "heatmap"}}, "must be a list"),
    "outputs by name": ({"inputs": [_input()], "outputs": ["heatmap"]}, "'heatmap' where an object"),
    "an unknown output": ({"inputs": [_input()], "outputs": [{"name": "logit"}]}, "'logit' is not available"),
    "an output twice": ({"inputs": [_input()], "outputs": [{"name": "heatmap"}] * 2}, "each once"),
    "an output's bytes by number": (
        {"inputs": [_input()], "outputs": [{"name": "heatmap", "parameters": {"binary_data": 1}}]},
        "binary_data is 1; it must be true or false",
    ),
    "classification": (
        {"inputs": [_input()], "outputs": [{"name": "probability", "parameters": {"classification": 1}}]},
        "without classification",
    ),
    "shared memory": (
        {"inputs": [_input()], "outputs": [{"name": "heatmap", "parameters": {"shared_memory_region": "x"}}]},
        "shared memory",
    ),
}
BAD_REQUESTS |= {
    f"{key} {index}: {str(value)[:30]}": ({"inputs": [_input(**{key: value})]}, sentence)
    for sentence, key, values in (
        ("'pixels', 'UINT8' of shape [N, 64, 64, 3] with N from 1 to 3.", "name", ["input", "", "x" * 9999]),
        ("'pixels', 'UINT8' of shape [N, 64, 64, 3] with N from 1 to 3.", "datatype", ["FP32", "uint8"]),
        ("The member name is", "name", [None, 1, ["pixels"]]),
        ("The member datatype is", "datatype", [None, 8]),
        ("must be a list", "shape", [None, "1", 64, {"N": 1}]),
        ("must be an object", "parameters", ["x", [1]]),
        (
            "of shape [N, 64, 64, 3] with N from 1 to 3.",
            "shape",
            [
                [],
                [1],
                [64, 64, 3],
                [1, 3, 64, 64],
                [1, 1, 64, 64, 3],
                [0, 64, 64, 3],
                [-1, 64, 64, 3],
                [4, 64, 64, 3],
                [10**4000, 64, 64, 3],
                [1, -64, -64, 3],
                [1, 2**62, 2**62, 3],
                [1.0, 64, 64, 3],
                [True, 64, 64, 3],
                [1, 64, 64.0, 3],
                ["1", 64, 64, 3],
                [None, 64, 64, 3],
                [[1], 64, 64, 3],
                [1, 64, 64, 3] * 9999,
            ],
        ),
        (
            "12288 whole numbers from 0 to 255, in one list or nested as [1, 64, 64, 3].",
            "data",
            [
                None,
                [],
                [1],
                [1] * (COUNT - 1),
                [1] * (COUNT + 1),
                1,
                "1" * COUNT,
                ["1"] * COUNT,
                [None] * COUNT,
                {"0": 1},
                [{"0": 1}] * COUNT,
                [-1] * COUNT,
                [256] * COUNT,
                [1] * (COUNT - 1) + [10**4000],
                [1.0] * COUNT,
                [float("nan")] * COUNT,
                [True] * COUNT,
                [1] * (COUNT - 1) + [True],
                [[1] * COUNT],
                [[1]] * COUNT,
                [[]],
                [[1, 2], 3],
                [[[["1"] * 3] * 64] * 64],
                [[[[1] * 2 + [[1]]] * 64] * 64],
                [[[[1] * 3] * 64] * 63 + [[[1] * 3] * 63 + [[1] * 4]]],
                [[[["111"] * 3] * 64] * 64],
                json.loads("[" * 500 + "]" * 500),
            ],
        ),
    )
    for index, value in enumerate(values)
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_gets_its_sentence(client: FlaskClient, name: str) -> None:
    asked, sentence = BAD_REQUESTS[name]
    _check_error(_infer(client, asked), 400, sentence)


@pytest.mark.parametrize("told", [COUNT - 1, COUNT + 1, 0, -1, 10**4000, "12288", [COUNT], 1.5, True, None])
def test_a_wrong_number_of_bytes(client: FlaskClient, told: object) -> None:
    asked = {"inputs": [_input(parameters={"binary_data_size": told})]}
    _check_error(_infer(client, asked, b"\7" * COUNT), 400, "both must be 12288")


@pytest.mark.parametrize("sent", [0, 1, COUNT - 1, COUNT + 1])
def test_bytes_that_are_missing_or_too_many(client: FlaskClient, sent: int) -> None:
    asked = {"inputs": [_input(parameters={"binary_data_size": COUNT})]}
    _check_error(_infer(client, asked, b"\7" * sent), 400, f"{sent} bytes follow the JSON")


@pytest.mark.parametrize("length", ["-1", "1.5", "x", "99999", "9" * 5000, "\xb2", " "])
def test_a_wrong_length_of_the_json(client: FlaskClient, length: str) -> None:
    answer = _infer(client, {"inputs": [_input(data=[])]}, length=length)
    _check_error(answer, 400, "Inference-Header-Content-Length")


def test_a_compressed_body(client: FlaskClient) -> None:
    answer = client.post(INFER, data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    _check_error(answer, 415, "uncompressed")


def test_a_body_of_more_values_than_its_tensor_may_have(client: FlaskClient) -> None:
    most = 10_000 + 3 * SIZE * SIZE * 4
    _check_error(_infer(client, b"[" * most), 400, "is not valid JSON")
    _check_error(_infer(client, b"[" * (most + 1)), 413, f"more than {most:,} values")


def test_a_body_that_is_too_large(client: FlaskClient) -> None:
    _check_error(client.post(INFER, data=b" " * 400_000), 413, "larger than the limit")


@pytest.mark.parametrize(
    "path",
    ["/v2/", "/v2/nothing", "/v2/models/pizza", "/v2/models/hotdog/versions/1/ready", "/v2/models/hotdog/config"],
)
def test_an_unknown_path(client: FlaskClient, path: str) -> None:
    _check_error(client.get(path), 404, path)


def test_a_wrong_method(client: FlaskClient) -> None:
    answer = client.get(INFER)
    _check_error(answer, 405, "use OPTIONS, POST")
    assert "POST" in answer.headers["Allow"]


def test_an_overloaded_service_refuses_before_the_tensor_is_read(client: FlaskClient) -> None:
    admission = client.application.extensions["admission"]
    with admission.reserved(admission.max_in_flight):
        answer = client.post(INFER, data=b"not even JSON")
    _check_error(answer, 429, "concurrency limit")
    assert answer.headers["Retry-After"] == "1"


def test_a_tensor_past_its_deadline_gets_504(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise DeadlineExceeded

    monkeypatch.setattr(Inference, "predict", never)
    _check_error(_infer(client, _asked(PIXELS)), 504, "before the deadline")


def test_an_internal_error_shows_no_traceback(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client.application.extensions["model_manager"].current.model, "run", fail)
    answer = _infer(client, _asked(PIXELS))
    _check_error(answer, 500, "its log has the reason")
    assert b"secret" not in answer.data


def _check_error(answer: TestResponse, status: int, sentence: str) -> None:
    body = json.loads(answer.data)
    assert answer.status_code == status, body
    assert sentence in body["error"]
    assert body["error"] == body["detail"]
    assert body["error"].endswith(".")
    assert len(body["error"]) < 400
    assert answer.content_type == "application/json", "KServe's client shows the sentence only with this type"


@pytest.fixture(scope="module")
def running(tiny_models: Path) -> Iterator[Server]:
    with serving(tiny_models, SEEFOOD_MAX_IMAGES="3") as server:
        yield server


@pytest.fixture
def triton_client(running: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}", concurrency=2) as client:
        yield client


def _tensor(pixels: Pixels, *, binary: bool = True) -> list[triton.InferInput]:
    return [triton.InferInput("pixels", pixels.shape, "UINT8").set_data_from_numpy(pixels, binary_data=binary)]


def _photos_answered(running: Server) -> list[float]:
    return [one["probability"] for one in running.post_photos(*PHOTOS).json()["predictions"]]


@pytest.mark.slow
def test_triton_client_reads_server_and_model_metadata(triton_client: triton.InferenceServerClient) -> None:
    for _ in range(5):
        assert triton_client.is_server_live()
        assert triton_client.is_server_ready()
        assert triton_client.is_model_ready("hotdog")
        assert triton_client.is_model_ready("hotdog", "tiny")
        assert not triton_client.is_model_ready("pizza")
    assert triton_client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert triton_client.get_model_metadata("hotdog")["inputs"][0]["shape"] == [-1, SIZE, SIZE, 3]


@pytest.mark.slow
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("wanted", [True, False, None])
def test_triton_client_gets_the_predictions_of_v1(
    triton_client: triton.InferenceServerClient, running: Server, tiny_models: Path, sent: bool, wanted: bool | None
) -> None:
    names = ("heatmap", "familiarity", "probability")
    outputs = [triton.InferRequestedOutput(name, binary_data=wanted) for name in names] if wanted is not None else None
    inputs = _tensor(PIXELS, binary=sent)
    answer = triton_client.infer("hotdog", inputs, "tiny", outputs=outputs, request_id="seven")
    assert answer.get_response()["id"] == "seven"
    expected = open_model(tiny_models).run(PIXELS)
    for name in names:
        assert answer.as_numpy(name) == pytest.approx(getattr(expected, name), abs=1e-4)
    assert answer.as_numpy("probability") == pytest.approx(_photos_answered(running), abs=1e-6)


@pytest.mark.slow
def test_triton_client_gets_only_the_requested_outputs(triton_client: triton.InferenceServerClient) -> None:
    answer = triton_client.infer("hotdog", _tensor(PIXELS), outputs=[triton.InferRequestedOutput("probability")])
    assert answer.as_numpy("probability").shape == (2,)
    assert answer.as_numpy("heatmap") is None


@pytest.mark.slow
def test_triton_client_sends_several_requests_at_a_time(
    triton_client: triton.InferenceServerClient, running: Server
) -> None:
    asked = [triton_client.async_infer("hotdog", _tensor(PIXELS[i % 2 : i % 2 + 1])) for i in range(8)]
    answers = [one.get_result().as_numpy("probability")[0] for one in asked]
    assert answers == pytest.approx(_photos_answered(running) * 4, abs=1e-6)


@pytest.mark.slow
def test_triton_client_shows_the_sentence(triton_client: triton.InferenceServerClient) -> None:
    wrong = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(InferenceServerException, match=r"shape \[1, 32, 32, 3\]; it must be 'pixels'") as error:
        triton_client.infer("hotdog", _tensor(wrong))
    assert error.value.status() == "400"
    with pytest.raises(InferenceServerException, match="with N from 1 to 3"):
        triton_client.infer("hotdog", _tensor(np.zeros((4, SIZE, SIZE, 3), np.uint8)))
    with pytest.raises(InferenceServerException, match="version tiny of hotdog"):
        triton_client.infer("pizza", _tensor(np.zeros((99, SIZE, SIZE, 3), np.uint8)))
    with pytest.raises(InferenceServerException, match="uncompressed"):
        triton_client.infer("hotdog", _tensor(PIXELS), request_compression_algorithm="gzip")
    assert triton_client.infer("hotdog", _tensor(PIXELS)).as_numpy("probability").shape == (2,)
