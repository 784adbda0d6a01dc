"""The web page in a browser, as wide as a phone and as a laptop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.fixtures.browser import open_browser
from tests.fixtures.drawing import encode
from tests.fixtures.server import Server, serving

pytestmark = pytest.mark.slow

PHONE, LAPTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def tiny_server(tiny_models: Path) -> Iterator[Server]:
    with serving(tiny_models) as running:
        yield running


@pytest.fixture(params=[PHONE, LAPTOP], ids=["phone", "laptop"])
def page(request: pytest.FixtureRequest, browser: Browser, tiny_server: Server) -> Iterator[Page]:
    """Return the open page; an error in its console or a request to another host fails the test."""
    context = browser.new_context(viewport=request.param)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda sent: None if _is_own(sent.url, tiny_server) else complaints.append(sent.url))
    page.goto(f"http://127.0.0.1:{tiny_server.port}/")
    yield page
    context.close()
    assert complaints == []


def _is_own(url: str, server: Server) -> bool:
    return url.startswith((f"http://127.0.0.1:{server.port}/", f"blob:http://127.0.0.1:{server.port}/"))


def _photo(colour: str, folder: Path) -> Path:
    path = folder / f"{colour}.jpg"
    path.write_bytes(encode(Image.new("RGB", (400, 300), colour)))
    return path


def test_a_chosen_photo_gets_its_verdict_in_large_letters(page: Page, tmp_path: Path) -> None:
    verdict = page.locator("#verdict")
    for colour, words in (("red", "Hotdog"), ("blue", "Not hotdog"), ("red", "Hotdog")):
        page.set_input_files("#photo", _photo(colour, tmp_path))
        expect(verdict).to_have_text(words)
        expect(page.locator("#preview")).to_be_visible()
    size = verdict.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    assert size >= 44
    box = verdict.bounding_box()
    viewport = page.viewport_size
    assert box is not None
    assert viewport is not None
    assert box["y"] + box["height"] <= viewport["height"], "the verdict is visible without scrolling"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"


def test_a_taken_photo_is_answered(page: Page, tmp_path: Path) -> None:
    assert page.get_attribute("#camera", "capture") == "environment"
    page.set_input_files("#camera", _photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Hotdog")


def test_an_uncertain_verdict_is_marked(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", _photo("grey", tmp_path))
    expect(page.locator("#sure")).to_have_text("but only 50% sure")


def test_an_unfamiliar_photo_is_marked(page: Page, tmp_path: Path) -> None:
    """The sentence is visible beside the verdict, for that photo only."""
    said = page.get_by_text("I have never seen such a thing.", exact=True)
    for colour, unseen in (("yellow", True), ("red", False), ("yellow", True)):
        page.set_input_files("#photo", _photo(colour, tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        expect(said).to_be_visible(visible=unseen)
        if unseen:
            expect(said).to_be_in_viewport(ratio=1)
    (tmp_path / "text.jpg").write_text("I am not a photo.")
    page.set_input_files("#photo", tmp_path / "text.jpg")
    expect(page.locator("#verdict")).to_have_text("The photo can't be decoded")
    expect(said).to_be_hidden()


def test_a_file_that_is_not_a_photo_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("I am not a photo.")
    page.set_input_files("#photo", tmp_path / "text.jpg")
    expect(page.locator("#verdict")).to_have_text("The photo can't be decoded")
    expect(page.locator("#sure")).to_contain_text("text.jpg")
    page.set_input_files("#photo", _photo("blue", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not hotdog")


def test_an_unreachable_service_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    page.route("**/v1/predict", lambda route: route.abort())
    page.set_input_files("#photo", _photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("No answer")


def test_the_page_works_with_the_keyboard_only(page: Page) -> None:
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.id")
    assert focused in ("photo", "camera")


def test_the_page_shows_the_model_version(page: Page) -> None:
    expect(page.locator("#model")).to_have_text("Model tiny.")
