"""The web page with a camera, which Chromium plays from a file: two seconds of red, then two seconds of blue."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect

from tests.fixtures.browser import open_browser
from tests.fixtures.page import COLOURS, open_page, photo, with_device
from tests.fixtures.server import Server

pytestmark = pytest.mark.slow

_SIZE = (320, 240)
_PICTURES = 20  # of each colour, ten a second
_FLAGS = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


def _film(path: Path) -> Path:
    """Write a Y4M file: for each picture, the planes Y, Cb and Cr, the latter two at half the size."""
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W%d H%d F10:1 Ip A1:1 C420jpeg\n" % _SIZE)
        for colour in ("red", "blue"):
            bands = Image.new("RGB", _SIZE, COLOURS[colour]).convert("YCbCr").split()
            planes = [np.asarray(band)[::step, ::step].tobytes() for band, step in zip(bands, (1, 2, 2), strict=True)]
            file.write((b"FRAME\n" + b"".join(planes)) * _PICTURES)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    film = _film(tmp_path_factory.mktemp("film") / "film.y4m")
    with open_browser(*_FLAGS, f"--use-file-for-fake-video-capture={film}") as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, tiny_server: Server) -> Iterator[Page]:
    with open_page(browser, tiny_server.port, permissions=["camera"]) as page:
        yield page


def _wait_until_it_plays(page: Page) -> None:
    page.evaluate("() => new Promise((resolve) => document.querySelector('#video').requestVideoFrameCallback(resolve))")


def test_the_shutter_opens_the_camera_then_takes_a_photo(page: Page) -> None:
    page.get_by_role("button", name="Open the camera").click()
    expect(page.locator("#video")).to_be_visible()
    _wait_until_it_plays(page)
    page.get_by_role("button", name="Take a photo").click()
    expect(page.locator("#source")).to_contain_text("by the service")
    assert page.locator("#verdict").text_content() in ("Hotdog", "Not hotdog")
    expect(page.locator("#preview")).to_be_visible()
    page.get_by_role("button", name="Open the camera").click()
    expect(page.locator("#video")).to_be_visible()
    expect(page.locator("#answer")).to_be_hidden()


def test_live_answers_follow_the_camera_one_at_a_time(page: Page) -> None:
    under_way: set[Request] = set()
    most = 0

    def start(sent: Request) -> None:
        nonlocal most
        if sent.method == "POST":
            under_way.add(sent)
            most = max(most, len(under_way))

    page.on("request", start)
    page.on("requestfinished", lambda sent: under_way.discard(sent))
    page.on("requestfailed", lambda sent: under_way.discard(sent))
    button = page.get_by_role("button", name="Live")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    for words in ("Not hotdog", "Hotdog", "Not hotdog"):
        expect(page.locator("#verdict")).to_have_text(words)
    expect(page.locator("#video")).to_be_visible()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert most == 1


def test_live_answers_of_the_device_send_nothing(browser: Browser, tiny_server: Server) -> None:
    with open_page(browser, tiny_server.port, before=with_device(), permissions=["camera"]) as page:
        expect(page.locator("#where-note")).to_have_text("The model is on this device.")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        page.get_by_role("button", name="Live").click()
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")
        assert "POST" not in sent


def test_a_chosen_photo_ends_the_camera(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Live").click()
    _wait_until_it_plays(page)
    page.set_input_files("#photo", photo("blue", tmp_path))
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#verdict")).to_have_text("Not hotdog")
    assert page.evaluate("document.querySelector('#video').srcObject") is None
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")


def test_a_refused_camera_is_said_in_words(page: Page) -> None:
    refuse = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    page.evaluate(f"() => {{ {refuse} }}")
    page.get_by_role("button", name="Open the camera").click()
    expect(page.locator("#verdict")).to_have_text("No camera")
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")


def test_a_photo_that_comes_while_the_browser_asks_for_the_camera_stays(page: Page, tmp_path: Path) -> None:
    page.evaluate("""() => {
        const devices = navigator.mediaDevices;
        const open = devices.getUserMedia.bind(devices);
        window.streams = [];
        devices.getUserMedia = async (wanted) => {
            await new Promise((resolve) => (window.allow = resolve));
            streams.push(await open(wanted));
            return streams.at(-1);
        };
    }""")
    shutter = page.get_by_role("button", name="Open the camera")
    shutter.click()
    shutter.click()
    page.set_input_files("#photo", photo("blue", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not hotdog")
    page.evaluate("allow()")
    while not page.evaluate("streams.length && streams.every((each) => each.getTracks()[0].readyState === 'ended')"):
        page.wait_for_timeout(50)
    expect(page.locator("#preview")).to_be_visible()
    shutter.click()
    shutter.click()
    page.evaluate("allow()")
    expect(page.locator("#video")).to_be_visible()
    assert page.evaluate("streams.length") == 2


def test_a_refused_camera_leaves_the_grid(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", [photo("red", tmp_path), photo("blue", tmp_path)])
    expect(page.locator("#verdict")).to_have_text("Hotdog: 1 of 2")
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')); }"
    )
    page.get_by_role("button", name="Open the camera").click()
    expect(page.locator("#verdict")).to_have_text("No camera")
    page.locator("#grid button").nth(1).click()
    expect(page.locator("#verdict")).to_have_text("Not hotdog")


def test_without_a_live_camera_the_shutter_opens_that_of_the_system(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    """Browsers give no live camera to a page that is on neither HTTPS nor localhost."""

    def none(page: Page) -> None:
        page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")

    with open_page(browser, tiny_server.port, before=none) as page:
        expect(page.get_by_role("button", name="Live")).to_be_hidden()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Open the camera").click()
        chooser.value.set_files(photo("red", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        assert page.get_attribute("#camera", "capture") == "environment"
