"""The web page with a model in the browser: who answers, what it says of privacy, and what happens on failure."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.fixtures.page import (
    MODEL,
    answer,
    answer_problem,
    change_model,
    open_page,
    photo,
    reload,
    with_device,
    worker_script,
)
from tests.fixtures.server import Server

pytestmark = pytest.mark.slow


def _choose(page: Page, name: str) -> None:
    page.get_by_role("button", name="Settings").click()
    page.get_by_label(name, exact=True).check()
    page.keyboard.press("Escape")


def _loaded(page: Page) -> None:
    expect(page.locator("#where-note")).to_have_text("The model is on this device.")


def test_a_photo_waits_until_it_is_known_whether_there_is_a_model(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    held: list[Route] = []

    def late(page: Page) -> None:
        with_device()(page)
        page.add_init_script("localStorage.setItem('seefood-where', 'phone')")
        page.route("**/web/model.json", lambda route: held.append(route))

    with open_page(browser, tiny_server.port, before=late) as page:
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Looking …")
        page.wait_for_timeout(200)
        held[0].fulfill(json=MODEL)
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")


def test_a_fast_device_answers_and_nothing_is_sent(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device()) as page:
        _loaded(page)
        expect(page.locator("#privacy")).to_contain_text("Photos stay on this device if it can read them.")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        expect(page.locator("#sure")).to_have_text("96% sure")
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")
        assert "POST" not in sent


def test_the_service_answers_for_a_slow_device(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device(milliseconds=300)) as page:
        _loaded(page)
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#source")).to_contain_text("by the service")
        _choose(page, "On this device")
        expect(page.locator("#privacy")).to_have_text("Photos stay on this device.")
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 300 ms")


def test_the_service_answers_while_the_model_is_loaded(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device(load=60_000)) as page:
        expect(page.locator("#loaded")).to_have_text("Loading the model: 1 of 4 MB")
        assert page.get_by_role("progressbar").evaluate("element => element.value") == 0.25
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#source")).to_contain_text("by the service")
        expect(page.locator("#privacy")).to_have_text("Photos are sent to the service. It does not store them.")


def test_the_service_is_chosen_and_the_choice_is_kept(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device()) as page:
        _choose(page, "By the service")
        page.reload()
        expect(page.locator("#privacy")).to_have_text("Photos are sent to the service. It does not store them.")
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Not hotdog")
        expect(page.locator("#source")).to_contain_text("by the service")


def test_a_photo_that_the_device_cant_read_is_sent_in_automatic_only(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("I am not a photo.")
    with open_page(browser, tiny_server.port, before=with_device()) as page:
        _loaded(page)
        with page.expect_request("**/v1/predict*"):
            page.set_input_files("#photo", tmp_path / "text.jpg")
        _choose(page, "On this device")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        page.set_input_files("#photo", tmp_path / "text.jpg")
        expect(page.locator("#verdict")).to_have_text("This is not a photo")
        assert "POST" not in sent


def test_the_device_answers_when_the_service_is_gone(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device(milliseconds=1000)) as page:
        _loaded(page)
        page.context.set_offline(True)
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 1000 ms")


def test_the_device_answers_when_only_the_proxy_is_there(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device(milliseconds=1000)) as page:
        _loaded(page)
        for status, slug in ((502, "bad-gateway"), (504, "gateway-timeout")):
            answer_problem(page, "**/v1/predict*", status, slug)
            page.set_input_files("#photo", photo("blue", tmp_path))
            expect(page.locator("#source")).to_have_text("on this device, 1000 ms")


def test_the_model_of_a_later_promotion_is_loaded(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=with_device()) as page:
        _choose(page, "By the service")
        reload(page)
        answer(page, "**/web/model.json", json=MODEL | {"url": "models/second.onnx"})
        gone = 'if (argument.model.url.endsWith("first.onnx")) return postMessage({ id, error: "HTTP 404" });'
        script = worker_script().replace("await Promise.all", f"{gone} await Promise.all")
        answer(page, "**/web/worker.js", body=script, content_type="text/javascript")
        _choose(page, "On this device")
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")


def test_a_page_without_a_service_is_answered_by_the_device(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    def alone(page: Page) -> None:
        with_device(milliseconds=1000)(page)
        answer(page, "**/v1/model", status=404, body="<p>no</p>", content_type="text/html")

    with open_page(browser, tiny_server.port, before=alone) as page:
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 1000 ms")
        expect(page.locator("#privacy")).to_have_text("Photos stay on this device.")
        assert page.get_by_label("By the service", exact=True).is_disabled()
        expect(page.locator("#wrong")).to_be_hidden()


def test_without_a_model_for_devices_the_service_answers(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    def none(page: Page) -> None:
        answer(page, "**/web/model.json", status=404)

    with open_page(browser, tiny_server.port, before=none) as page:
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#source")).to_contain_text("by the service")
        page.get_by_role("button", name="Settings").click()
        assert page.get_by_label("On this device", exact=True).is_disabled()
        expect(page.locator("#where-note")).to_have_text("The service offers no model for this device.")
        expect(page.locator("#model")).to_have_text("Model tiny")


def test_a_browser_that_changes_pixels_uses_the_service_and_says_so(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    with open_page(browser, tiny_server.port, before=with_device(error="canvas-not-exact")) as page:
        expect(page.locator("#notice")).to_contain_text("the service answers instead of this device")
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Not hotdog")


def test_a_photo_that_should_stay_here_is_not_sent_because_of_changed_pixels(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    def slow(page: Page) -> None:
        with_device(error="canvas-not-exact", load=5000)(page)  # the photo is chosen while the model is loaded
        page.add_init_script("localStorage.setItem('seefood-where', 'phone')")

    with open_page(browser, tiny_server.port, before=slow) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("This device can't answer")
        assert "POST" not in sent
        expect(page.locator("#privacy")).to_have_text("Photos are sent to the service. It does not store them.")
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Not hotdog")


def test_a_model_that_cant_be_loaded_is_said_and_tried_again(
    browser: Browser, tiny_server: Server, tmp_path: Path
) -> None:
    with open_page(browser, tiny_server.port, before=with_device(error="HTTP 500")) as page:
        _choose(page, "On this device")
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("The model can't be loaded")
        page.unroute_all()
        with_device()(page)
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")


def test_what_the_page_says_of_privacy_includes_feedback(browser: Browser, tiny_server: Server) -> None:
    def both(page: Page) -> None:
        with_device()(page)
        change_model(feedback=True)(page)

    with open_page(browser, tiny_server.port, before=both) as page:
        _choose(page, "On this device")
        said = "Photos stay on this device, except those that you report as wrong."
        expect(page.locator("#privacy")).to_have_text(said)


def test_what_the_page_says_of_privacy_includes_collected_photos(browser: Browser, tiny_server: Server) -> None:
    with open_page(browser, tiny_server.port, before=change_model(feedback=True, collects=True)) as page:
        expect(page.locator("#privacy")).to_contain_text("It stores some of them for training")
