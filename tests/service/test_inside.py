"""The page /inside in a browser: a photo on its way through a small network, and the convolution to try out."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch
from flask.testing import FlaskClient
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from service.photo import read_photo
from service.registry import INSIDE
from service.settings import Settings
from tests.conftest import MakeApp
from tests.fixtures.axe import violations
from tests.fixtures.page import WEB, check_translation, open_page, photo
from tests.fixtures.server import Server, serving
from tests.fixtures.shared import make_once
from tests.fixtures.small_network import SIZE, TEMPERATURE, write_small_version
from training.export.inside import write_inside

LANGUAGES = {path.stem: json.loads(path.read_text("utf-8")) for path in (WEB / "inside" / "languages").glob("*.json")}
SOURCES = "\n".join(path.read_text("utf-8") for path in (WEB / "inside").glob("*.*"))
SHARED_TEXTS = json.loads((WEB / "languages" / "en.json").read_text("utf-8"))
IDEAS = (
    *("normalisation", "channels", "kernels", "convolution", "stride", "padding", "relu", "pooling", "skip", "field"),
    *("dropout", "cam", "upsampling", "sigmoid", "dense", "dilation"),
)
TRIAL = 224  # pixels of the picture of the convolution to try out


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def write(folder: Path) -> None:
        write_small_version(folder / "models")
        version = folder / "models" / "small"
        write_inside(version / "model.onnx", version / INSIDE)

    return make_once(tmp_path_factory, "small", write) / "models"


@pytest.fixture(scope="module")
def small_server(small_models: Path) -> Iterator[Server]:
    if not (WEB / "ort" / "ort-wasm-simd-threaded.wasm").exists():
        pytest.skip("no ONNX Runtime for browsers is there; node deploy/web/get-runtime.mjs fetches it")
    with serving(small_models) as running:
        yield running


@contextmanager
def _open(browser: Browser, port: int, **options: Any) -> Iterator[Page]:
    with open_page(browser, port, **options) as page:
        page.goto(f"http://127.0.0.1:{port}/inside")
        expect(page.locator("#status")).to_have_text(re.compile("."))
        yield page


@pytest.fixture
def page(browser: Browser, small_server: Server) -> Iterator[Page]:
    with _open(browser, small_server.port) as page:
        yield page


def _look(page: Page, path: Path) -> None:
    page.set_input_files("#photo", path)
    expect(page.locator("#version")).to_contain_text("small")
    expect(page.locator("#status")).to_have_text(re.compile("Scroll|Role|Despl"))


def _picture(folder: Path) -> Path:
    """Write a picture with edges and gradients; decoders of JPEG differ by a level, those of PNG do not."""
    rows, columns = np.mgrid[:300, :400]
    values = np.stack([columns * 255 // 400, rows * 255 // 300, (columns // 50 + rows // 50) % 2 * 255], 2)
    Image.fromarray(values.astype(np.uint8)).save(folder / "picture.png")
    return folder / "picture.png"


def _pixels(canvas: Locator) -> npt.NDArray[np.uint8]:
    """Return what a canvas shows, uint8 [height, width, 3]."""
    width, height, values = canvas.evaluate(
        """canvas => [canvas.width, canvas.height,
            Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)]"""
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def _outputs(models: Path, path: Path) -> dict[str, npt.NDArray[Any]]:
    session = ort.InferenceSession(models / "small" / INSIDE)
    names = [each.name for each in session.get_outputs()]
    pixels = read_photo(path.read_bytes(), SIZE)[None]
    return dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))


def test_the_file_is_served_beside_the_model(small_models: Path, make_app: MakeApp, client: FlaskClient) -> None:
    app = make_app(Settings(models=small_models))
    with app.test_client().get("/web/inside.onnx") as answer:
        assert answer.status_code == 200
        assert answer.data == (small_models / "small" / INSIDE).read_bytes()
    with client.get("/web/inside.onnx") as answer:
        assert answer.status_code == 404
        said = "The version tiny has no inside.onnx; `seefood inspect tiny --onnx` writes it."
        assert answer.get_json(force=True)["detail"] == said


def test_the_worker_alone_may_compile_webassembly(client: FlaskClient) -> None:
    policies = {}
    for path in ("/inside", "/web/inside/app.js", "/web/inside/worker.js"):
        with client.get(path) as answer:
            assert answer.status_code == 200
            policies[path] = answer.headers["Content-Security-Policy"]
    assert policies["/inside"] == policies["/web/inside/app.js"]
    assert "unsafe" not in policies["/inside"]
    expected = policies["/inside"].replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
    assert policies["/web/inside/worker.js"] == expected


@pytest.mark.parametrize("language", ["en", "pt-BR", "es"])
def test_a_language_has_the_texts_of_the_others(language: str) -> None:
    check_translation(LANGUAGES[language], LANGUAGES["en"])
    assert not set(LANGUAGES[language]) & set(SHARED_TEXTS), "a text has one place"


def test_every_text_is_named_and_every_named_text_exists() -> None:
    named = set(re.findall(r'data-(?:text|label)="([^"]+)"', SOURCES))
    named |= set(re.findall(r'\b(?:text|say)\("([^"]+)"', SOURCES))
    assert named
    assert named <= LANGUAGES["en"].keys() | SHARED_TEXTS.keys()
    for key in LANGUAGES["en"]:
        if key.split(".")[0] not in ("channel", "kernel", "relu", "pooling", "skip"):  # the page composes their names
            assert f'"{key}"' in SOURCES, key


@pytest.mark.slow
def test_every_section_is_drawn(page: Page, small_server: Server, tmp_path: Path) -> None:
    path = _picture(tmp_path)
    _look(page, path)
    for selector, count in (
        ("#photo-pictures img", 1),
        ("#photo-pictures canvas", 1),
        ("#channel-pictures canvas", 3),
        ("#kernel-pictures canvas", 16),
        ("#convolution-pictures canvas", 1 + 8),
        ("#relu-pictures canvas", 2),
        ("#pooling-pictures canvas", 2),
        ("#skip-pictures canvas", 3),
        ("#stages canvas", 3 * (1 + 8)),
        ("#dropout-pictures canvas", 8),
        ("#cam-pictures canvas", 1),
        ("#upsampling-pictures canvas", 4),
        ("#sigmoid circle", 1),
        ("#counts tr", 3),
    ):
        assert page.locator(selector).count() == count, selector
    assert page.locator("#stages h3").all_inner_texts() == ["maxpool", "layer1", "layer2"]
    layer2 = page.locator("#stages .stage").nth(2)
    expect(layer2).to_contain_text("24 channels of 8 \u00d7 8 values. Stride 8")
    expect(layer2).to_contain_text("Receptive field: 51 \u00d7 51 pixels")  # 7 + 2 x 2 + 2 x 2 x 4 + 2 x 4 + 2 x 8
    expect(layer2).to_contain_text("The 8 strongest of 24 maps")
    expect(page.locator("#kernels-idea")).to_contain_text("found these 16")
    expect(page.locator("#stride-idea")).to_contain_text(
        "with a step of 2 pixels, 64 \u00d7 64 pixels become 32 \u00d7 32"
    )
    assert "25" in page.locator("#counts tr").nth(1).inner_text(), "24 weights and a bias"
    probability = small_server.post_photos(path.read_bytes()).json()["predictions"][0]["probability"]
    numbers = page.locator("#sigmoid-numbers").inner_text()
    assert f"temperature {TEMPERATURE}" in numbers
    shown = re.search(r"([\d.]+)%", numbers)
    assert shown
    assert float(shown[1]) / 100 == pytest.approx(probability, abs=0.001)
    for idea in IDEAS:
        said = page.locator(f"p:has(> strong[data-text={idea}])").inner_text()
        assert said.endswith("."), idea


@pytest.mark.slow
def test_the_pictures_are_the_values_of_the_network(page: Page, small_models: Path, tmp_path: Path) -> None:
    path = _picture(tmp_path)
    _look(page, path)
    outputs = _outputs(small_models, path)
    square = read_photo(path.read_bytes(), SIZE)
    assert np.array_equal(_pixels(page.locator("#photo-pictures canvas")), square)
    weights = outputs["kernels"][3]
    expected = 128 + 127 * weights.transpose(1, 2, 0) / np.abs(weights).max()
    np.testing.assert_allclose(_pixels(page.locator("#kernel-pictures canvas").nth(3)), expected, atol=1)
    stage = json.loads(outputs["description"].tobytes())["stages"][-1]
    maps = outputs[stage["output"]][0]
    strongest = maps[np.abs(maps).mean((1, 2)).argmax()]
    shown = _pixels(page.locator("#stages .stage").nth(2).locator(".maps canvas").first)
    np.testing.assert_allclose(shown[..., 0], 255 * strongest / strongest.max(), atol=2)
    heatmap = outputs["heatmap"][0]
    cam = _pixels(page.locator("#cam-pictures canvas"))
    clear = np.abs(heatmap) > 0.05  # weaker evidence is white
    assert np.array_equal((cam[..., 0] > cam[..., 2])[clear], heatmap[clear] > 0), "red is evidence for the label"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [("blur", 1, 1, 1), ("blur", 3, 2, 4), ("edges", 2, 0, 1), ("sharpen", 8, 16, 8)],
)
def test_the_convolution_to_try_out(
    page: Page, tmp_path: Path, kernel: str, stride: int, padding: int, dilation: int
) -> None:
    path = _picture(tmp_path)
    _look(page, path)
    page.select_option("#kernel", kernel)
    for name, value in (("stride", stride), ("padding", padding), ("dilation", dilation)):
        page.locator(f"#{name}").press("Home")
        for _ in range(value - int(page.locator(f"#{name}").input_value())):
            page.keyboard.press("ArrowRight")
        expect(page.locator(f"#{name}-value")).to_have_text(str(value))
    weights = torch.tensor(
        {
            "blur": [[0.04] * 5] * 5,
            "edges": [[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]],
            "sharpen": [[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]],
        }[kernel]
    )
    square = torch.from_numpy(read_photo(path.read_bytes(), TRIAL).astype(np.float64))
    grey = square @ torch.tensor([0.299, 0.587, 0.114]).double()
    expected = torch.nn.functional.conv2d(
        grey[None, None], weights.double()[None, None], stride=stride, padding=padding, dilation=dilation
    )[0, 0].numpy()
    k, side = len(weights), len(expected)
    numerator = f"{TRIAL} + 2 \u00b7 {padding} \u2212 {dilation} \u00b7 ({k} \u2212 1) \u2212 1"
    formula = f"\u230a({numerator}) / {stride}\u230b + 1 = {side}"
    expect(page.locator("#formula")).to_have_text(formula)
    shown = _pixels(page.locator("#trial-output canvas"))
    assert shown.shape[:2] == (side, side)
    if kernel == "edges":
        clear = np.abs(expected) > 8
        assert clear.any()
        assert np.array_equal((shown[..., 0] > shown[..., 2])[clear], (expected > 0)[clear])
    else:
        np.testing.assert_allclose(shown[..., 0], np.clip(expected, 0, 255), atol=1)


@pytest.mark.slow
def test_languages(page: Page, tmp_path: Path) -> None:
    _look(page, photo("red", tmp_path))
    english_words = ("are the maps", "Receptive field", "Sigmoid: ")
    for english in english_words:
        expect(page.locator("main")).to_contain_text(english, use_inner_text=True)
    for language, title, label in (
        ("es", "Dentro de la red", "Hot dog"),
        ("pt-BR", "Por dentro da rede", "Cachorro-quente"),
    ):
        page.select_option("#language", language)
        expect(page.locator("h1")).to_have_text(title)
        expect(page.locator("#sigmoid-numbers")).to_contain_text(label)
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("#kernel option").first).to_have_text(LANGUAGES[language]["kernel.edges"])
        for english in english_words:
            assert english not in page.locator("main").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_axe_finds_no_barrier_and_nothing_is_too_wide(
    browser: Browser, small_server: Server, tmp_path: Path, scheme: str, width: int
) -> None:
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "reduced_motion": "reduce"}
    with _open(browser, small_server.port, **options) as page:
        assert violations(page) == []
        _look(page, photo("red", tmp_path))
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_the_keyboard_reaches_every_control(page: Page, tmp_path: Path) -> None:
    _look(page, photo("red", tmp_path))
    page.locator("#home").focus()
    reached = []
    for _ in range(8):
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
        page.keyboard.press("Tab")
    assert reached == ["home", "language", "photo", "wide", "kernel", "stride", "padding", "dilation"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_server")  # it fetches the runtime, or skips the test
def test_without_the_file_the_page_names_the_command(browser: Browser, tiny_models: Path, tmp_path: Path) -> None:
    with serving(tiny_models) as server, _open(browser, server.port) as page:
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#status")).to_contain_text("Its operator makes one with this command:")
        expect(page.locator("#command")).to_have_text("seefood inspect current --onnx")
        expect(page.locator("#trial-output canvas")).to_be_visible()
        expect(page.locator("#network")).to_be_hidden()


@pytest.mark.slow
def test_what_cant_be_read_is_said_and_can_be_tried_again(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("I am not a photo.")
    page.set_input_files("#photo", tmp_path / "text.jpg")
    expect(page.locator("#status")).to_have_text("This file can't be read as a photo. Choose another one.")
    page.route("**/web/inside.onnx", lambda route: route.fulfill(body=b"no ONNX file"))
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#status")).to_contain_text("The network can't be loaded.")
    page.unroute_all()
    _look(page, photo("red", tmp_path))


@pytest.mark.slow
def test_the_page_takes_the_photo_that_was_just_answered(
    browser: Browser, small_server: Server, tmp_path: Path
) -> None:
    with open_page(browser, small_server.port) as page:
        page.set_input_files("#photo", _picture(tmp_path))
        expect(page.locator("#source")).not_to_be_empty()
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        page.get_by_role("link", name="Look inside").click()
        expect(page.locator("#version")).to_contain_text("small")
        assert page.url.endswith("/inside")
        assert set(sent) == {"GET"}, "the photo stays in the browser"
        square = read_photo((tmp_path / "picture.png").read_bytes(), SIZE)
        assert np.array_equal(_pixels(page.locator("#photo-pictures canvas")), square)
        page.reload()
        expect(page.locator("#status")).to_have_text("Choose a photo to begin.")
