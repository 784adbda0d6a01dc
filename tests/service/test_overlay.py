"""The heatmap over a photo: red is evidence for, blue against; and the parameters of a request."""

import base64
import io
import json

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from service.overlay import as_png, overlay
from tests.fixtures.drawing import encode

GREY = np.full((64, 64, 3), 128, np.uint8)
RED_AND_BLUE = Image.new("RGB", (64, 64), "red")
RED_AND_BLUE.paste((0, 0, 255), (32, 0, 64, 64))
PHOTO = encode(RED_AND_BLUE, "PNG")


@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_red_is_evidence_for_and_blue_against(upsample: str) -> None:
    mixed = overlay(GREY, np.array([[1, 0], [0, -1]], np.float32), upsample).astype(int)
    assert mixed[0, 0, 0] > 180 > 90 > mixed[0, 0, 2], "red is evidence for"
    assert mixed[-1, -1, 2] > 180 > 90 > mixed[-1, -1, 0], "blue is evidence against"


def test_weak_evidence_is_pale() -> None:
    assert (overlay(GREY, np.zeros((7, 7), np.float32)) == GREY).all()
    pale = overlay(GREY, np.full((7, 7), 0.05, np.float32)).astype(int) - GREY
    assert 0 < np.abs(pale).max() < 6


def test_the_photo_is_visible_under_strong_evidence() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mixed = overlay(photo, np.array([[100, -100]], np.float32))
    assert mixed.dtype == np.uint8
    assert np.corrcoef(photo.ravel(), mixed.ravel())[0, 1] > 0.3


def test_bilinear_is_smooth_and_nearest_shows_the_grid() -> None:
    heatmap = np.array([[1, 0], [0, 0]], np.float32)
    smooth, grid = (overlay(GREY, heatmap, upsample)[:, :, 0] for upsample in ("bilinear", "nearest"))
    assert len(np.unique(grid)) == 2
    assert (grid[:32, :32] == grid[0, 0]).all()
    assert (grid[32:] == 128).all()
    assert len(np.unique(smooth)) > 20


def test_a_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(as_png(pixels)))) == pixels).all()


def _ask(client: FlaskClient, query: str) -> dict[str, object]:
    answer = client.post(f"/v1/predict?{query}", data=PHOTO, content_type="image/png")
    assert answer.status_code == 200
    (prediction,) = answer.get_json()["predictions"]
    return dict(prediction)


def _opened(png: object) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    assert isinstance(png, str)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png, validate=True)))).astype(np.int64)


@pytest.mark.parametrize("upsample", ["", "&upsample=bilinear", "&upsample=nearest"])
def test_heatmap_png_is_the_square_with_its_evidence(client: FlaskClient, upsample: str) -> None:
    prediction = _ask(client, f"heatmap=png{upsample}")
    assert "heatmap" not in prediction
    evidence = np.array(_ask(client, "heatmap=true")["heatmap"], np.float32)
    expected = overlay(np.asarray(RED_AND_BLUE), evidence, upsample.rpartition("=")[2] or "bilinear")
    assert np.abs(_opened(prediction["heatmap_png"]) - expected).max() <= 1, "except for the rounding of the numbers"


def test_each_photo_gets_its_own_picture(client: FlaskClient) -> None:
    blue = encode(Image.new("RGB", (20, 20), (0, 0, 255)))
    files = [(io.BytesIO(data), name) for data, name in ((PHOTO, "1"), (b"broken", "2"), (blue, "3"))]
    answer = client.post("/v1/predict?heatmap=png", data={"image": files}, content_type="multipart/form-data")
    first, second, third = answer.get_json()["predictions"]
    assert "heatmap_png" not in second
    assert _opened(first["heatmap_png"])[:, 0, 0].mean() > 200
    assert _opened(third["heatmap_png"])[:, 0, 0].mean() < 60


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("heatmap=jpeg", "The parameter heatmap is 'jpeg'; it must be true or png."),
        ("heatmap=", "The parameter heatmap is ''; it must be true or png."),
        ("heatmap=png&upsample=cubic", "The parameter upsample is 'cubic'; it must be bilinear or nearest."),
        ("upsample=NEAREST", "The parameter upsample is 'NEAREST'; it must be bilinear or nearest."),
    ],
)
def test_an_invalid_parameter_is_refused(client: FlaskClient, query: str, sentence: str) -> None:
    answer = client.post(f"/v1/predict?{query}", data=PHOTO, content_type="image/png")
    body = json.loads(answer.data)
    assert (answer.status_code, body["type"]) == (400, "urn:problem-type:seefood:bad-parameter")
    assert body["detail"] == sentence
