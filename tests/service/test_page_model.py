"""The web page with the real ONNX Runtime for browsers: same answers as the service, offline, and as static files."""

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.browser.chromium import BrowserModel
from benchmarks.browser.parity import Predict, compare, drawn_photos, real_photos
from service.browser_model import RUNTIME, WASM
from tests.fixtures.page import open_page, photo, reload
from tests.fixtures.server import Server, free_port, serving, wait_for_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (RUNTIME / WASM).is_file(), reason="no ONNX Runtime for browsers; run make web"),
]

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
LARGEST_DIFFERENCE = 0.02  # of probability, in 99 of 100 photos


@pytest.fixture(scope="module")
def phone_server() -> Iterator[Server]:
    """Return a service that answers with the model that it offers to browsers."""
    with serving(MODELS, SEEFOOD_MODEL="phone", SEEFOOD_PRECISION="float32") as running:
        yield running


@pytest.fixture(scope="module")
def model(browser: Browser, phone_server: Server) -> BrowserModel:
    return BrowserModel(browser, f"http://127.0.0.1:{phone_server.port}/")


def _service(server: Server) -> Predict:
    def predict(photo: bytes) -> dict[str, Any]:
        answer = server.post_photos(photo)
        assert answer.status == 200, answer.body
        prediction: dict[str, Any] = answer.json()["predictions"][0]
        return prediction

    return predict


def test_drawn_photos_get_the_same_answers(phone_server: Server, model: BrowserModel) -> None:
    found = compare(drawn_photos(), _service(phone_server), model.predict)
    assert (found["photos"], found["flips"]) == (40, [])
    assert found["p99"] <= LARGEST_DIFFERENCE


def test_real_photos_get_the_same_answers(photos: Path, phone_server: Server, model: BrowserModel) -> None:
    found = compare(real_photos(photos, 300), _service(phone_server), model.predict)
    assert (found["photos"], found["flips"]) == (300, [])
    assert found["p99"] <= LARGEST_DIFFERENCE


def test_an_answer_of_the_browser_has_the_fields_of_the_service(
    tiny_models: Path, browser: Browser, tmp_path: Path
) -> None:
    with serving(tiny_models) as server:
        tiny = BrowserModel(browser, f"http://127.0.0.1:{server.port}/")
        for colour in ("red", "grey", "blue", "yellow"):
            data = photo(colour, tmp_path).read_bytes()
            expected = server.request("POST", "/v1/predict?heatmap=true", data, "image/jpeg").json()["predictions"][0]
            found = tiny.predict(data)
            assert found.pop("milliseconds") > 0
            assert found.pop("probability") == pytest.approx(expected.pop("probability"), abs=1e-5)
            for row, other in zip(found.pop("heatmap"), expected.pop("heatmap"), strict=True):
                assert row == pytest.approx(other, abs=1e-3)
            assert found == {key: value for key, value in expected.items() if key != "filename"}


def _loaded(page: Page) -> None:
    expect(page.locator("#where-note")).to_have_text("The model is on this device.", timeout=120_000)


def _answered_here(page: Page, path: Path, words: str) -> None:
    page.set_input_files("#photo", path)
    expect(page.locator("#source")).to_contain_text("on this device")
    expect(page.locator("#verdict")).to_have_text(words)


def _choose_the_device(page: Page) -> None:
    page.add_init_script("localStorage.setItem('seefood-where', 'phone')")


def test_after_one_visit_the_device_answers_without_the_service(
    browser: Browser, tiny_models: Path, tmp_path: Path
) -> None:
    with (
        ExitStack() as running,
        open_page(
            browser,
            running.enter_context(serving(tiny_models)).port,
            before=_choose_the_device,
            service_workers="allow",
        ) as page,
    ):
        _loaded(page)
        _answered_here(page, photo("red", tmp_path), "Hotdog")
        running.close()
        reload(page)
        _answered_here(page, photo("blue", tmp_path), "Not hotdog")


def test_a_promoted_phone_model_replaces_the_kept_one(browser: Browser, tiny_models: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models, models)
    shutil.copytree(MODELS / _version("phone"), models / "new")
    with (
        serving(models) as server,
        open_page(browser, server.port, before=_choose_the_device, service_workers="allow") as page,
    ):
        _loaded(page)
        expect(page.locator("#model")).to_have_text("Model tiny")
        (models / "phone").write_text("new")
        page.reload()
        _loaded(page)
        expect(page.locator("#model")).to_have_text(f"Model {_version('phone')}")
        kept = page.evaluate("async () => (await (await caches.open('seefood-model')).keys()).map(({ url }) => url)")
        assert len(kept) == 3, "the description, one model and the runtime"


def _version(pointer: str) -> str:
    return (MODELS / pointer).read_text().strip()


@contextmanager
def _static_pages(folder: Path) -> Iterator[int]:
    """Write the static pages and serve them without SeeFood; yields the port."""
    command = [sys.executable, "deploy/web/pages.py", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    port = free_port()
    web = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(web, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def test_the_static_pages_answer_with_no_service(browser: Browser, photos: Path, tmp_path: Path) -> None:
    found = sorted((photos / "stranger_test" / "hotdog").iterdir())[:5]
    with _static_pages(tmp_path / "dist") as port:
        context = browser.new_context(service_workers="block")
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/", wait_until="load")
        page.set_input_files("#photo", found)
        expect(page.locator("#verdict")).to_contain_text("of 5", timeout=120_000)
        words = page.locator("#grid button span").all_inner_texts()
        assert words.count("Hotdog") >= 3
        expect(page.locator("#inside")).to_be_hidden()
        context.close()


def test_the_static_pages_replace_only_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("kept")
    command = [sys.executable, "deploy/web/pages.py", str(tmp_path / "mine")]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert (
        ran.stderr == f"pages: {tmp_path / 'mine'} exists and was not written by this command; name another folder.\n"
    )
    assert (tmp_path / "mine" / "letter.txt").read_text() == "kept"


def test_an_error_keeps_the_old_static_pages(tmp_path: Path) -> None:
    old = tmp_path / "dist" / "web" / "model.json"
    old.parent.mkdir(parents=True)
    old.touch()
    command = [sys.executable, "deploy/web/pages.py", str(tmp_path / "dist")]
    limited = ["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh", *command]
    ran = subprocess.run(limited, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith("pages: ")
    assert "File too large" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "dist", old.parent, old]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found = {path.name for path in old.parent.iterdir()}
    assert "app.js" in found
    assert not found & {"review", "inside", "docs.html", "openapi.json"}, "no page of the service"


def test_a_heatmap_of_the_device_is_drawn(browser: Browser, tiny_models: Path, tmp_path: Path) -> None:
    with serving(tiny_models) as server, open_page(browser, server.port, before=_use_the_model) as page:
        picture = Image.new("RGB", (400, 300), (200, 20, 20))
        picture.paste((20, 20, 200), (200, 0, 400, 300))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        (tmp_path / "halves.png").write_bytes(buffer.getvalue())
        page.set_input_files("#photo", tmp_path / "halves.png")
        expect(page.locator("#source")).to_contain_text("on this device", timeout=120_000)
        page.get_by_role("button", name="Why?").click()
        left, right = (
            page.evaluate(
                """x => {
                    const canvas = document.querySelector("#heatmap");
                    return [...canvas.getContext("2d").getImageData(x * (canvas.width - 1), 0, 1, 1).data];
                }""",
                x,
            )
            for x in (0, 1)
        )
        assert left[0] > 150 > left[2], "red"
        assert right[2] > 150 > right[0], "blue"


def _use_the_model(page: Page) -> None:
    page.unroute_all()
    _choose_the_device(page)
