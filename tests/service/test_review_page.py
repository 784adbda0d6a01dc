"""The review page in a browser: keyboard, bulk, swipes, undo, filters, heatmap, and 1,000 photos."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import APIResponse, Browser, Route, expect

from service.drift import MIN_PHOTOS
from service.inbox import review
from service.inbox.records import CORRECTION
from service.inbox.review import Filter
from service.inbox.store import Inbox
from service.metadata import HISTOGRAM_BINS
from tests.fixtures.axe import violations
from tests.fixtures.drawing import encode
from tests.fixtures.inbox import fill, make_inbox, new_photo, sender, verdict
from tests.fixtures.load import until
from tests.fixtures.review_page import KEY, LAPTOP, open_review
from tests.fixtures.server import Server, serving
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry

pytestmark = pytest.mark.slow

PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inbox")


@pytest.fixture(scope="module")
def running(tiny_models: Path, folder: Path) -> Iterator[Server]:
    settings = {"SEEFOOD_FEEDBACK_DIR": str(folder), "SEEFOOD_REVIEW_KEY": KEY}
    with serving(tiny_models, **settings) as server:
        yield server


@pytest.fixture
def inbox(folder: Path, running: Server) -> Inbox:
    """Return the inbox of the service with eight photos; the first two have votes that disagree."""
    assert running
    inbox = make_inbox(folder)
    with inbox.index.writing() as db:
        db.execute("DELETE FROM photos")
    for seed in range(8):
        inbox.add(new_photo(seed), sender(1), CORRECTION, verdict(0.9 - seed / 100, unfamiliar=seed == 3), "not_hotdog")
    for seed in range(2):
        inbox.add(new_photo(seed), sender(2), CORRECTION, verdict(0.9), "hotdog")
    return inbox


def _states(inbox: Inbox) -> dict[str, int]:
    return review.counts(inbox, Filter())


def _labels(inbox: Inbox) -> list[str]:
    return [photo["label"] for photo in review.photos(inbox, Filter(), "accepted", 99)]


def test_the_keyboard_decides_skips_and_undoes(browser: Browser, running: Server, inbox: Inbox) -> None:
    with open_review(browser, running) as page:
        progress = page.locator("#progress-text")
        expect(progress).to_have_text("0 of 8 reviewed")
        page.keyboard.press("h")
        expect(progress).to_have_text("1 of 8 reviewed")
        page.keyboard.press("n")
        page.keyboard.press("d")
        expect(progress).to_have_text("3 of 8 reviewed")
        assert _states(inbox) == {"waiting": 5, "accepted": 2, "dropped": 1}
        assert sorted(_labels(inbox)) == ["hotdog", "not_hotdog"]
        shown = page.locator("#facts small").inner_text()
        page.keyboard.press("s")
        expect(page.locator("#facts small")).not_to_have_text(shown)
        for left in ("2", "1", "0"):
            page.keyboard.press("u")
            expect(progress).to_have_text(f"{left} of 8 reviewed")
        page.keyboard.press("u")
        assert _states(inbox) == {"waiting": 8, "accepted": 0, "dropped": 0}
        expect(page.locator("#queue li")).to_have_count(8)


def test_an_undone_decision_appears_only_where_the_filters_show_it(
    browser: Browser, running: Server, inbox: Inbox
) -> None:
    with open_review(browser, running) as page:
        page.keyboard.press("h")
        expect(page.locator("#progress-text")).to_have_text("1 of 8 reviewed")
        page.get_by_label("State").select_option("accepted")
        expect(page.locator("#queue li")).to_have_count(1)
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#progress-text")).to_have_text("0 of 8 reviewed")
        expect(page.locator("#queue li")).to_have_count(0)
    assert _states(inbox)["waiting"] == 8


def test_keys_that_are_pressed_fast_decide_about_one_photo_each(
    browser: Browser, running: Server, inbox: Inbox
) -> None:
    with open_review(browser, running) as page:
        for _ in range(8):
            page.keyboard.press("h")
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("#progress-text")).to_have_text("8 of 8 reviewed")
        assert _states(inbox) == {"waiting": 0, "accepted": 8, "dropped": 0}


def test_several_photos_are_decided_at_once(browser: Browser, running: Server, inbox: Inbox) -> None:
    with open_review(browser, running) as page:
        boxes = page.locator("#queue input")
        boxes.nth(1).click()
        boxes.nth(4).click(modifiers=["Shift"])
        expect(page.locator("#selected")).to_contain_text("4 selected")
        page.keyboard.press("d")
        expect(page.locator("#progress-text")).to_have_text("4 of 8 reviewed")
        page.locator("#select-all").check()
        page.get_by_role("button", name="Not hotdog", exact=True).click()
        expect(page.locator("#progress-text")).to_have_text("8 of 8 reviewed")
        assert _states(inbox) == {"waiting": 0, "accepted": 4, "dropped": 4}
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#queue li")).to_have_count(4)
        assert _states(inbox) == {"waiting": 4, "accepted": 0, "dropped": 4}


def test_who_disagrees_with_whom_is_shown_and_filtered(browser: Browser, running: Server, inbox: Inbox) -> None:
    with open_review(browser, running) as page:
        page.get_by_label("senders disagree").check()
        expect(page.locator("#queue li")).to_have_count(2)
        expect(page.locator("#facts .conflict")).to_have_text("The senders disagree")
        facts = page.locator("#facts")
        expect(facts).to_contain_text("Model tiny: Hotdog, 9")
        expect(facts).to_contain_text("Sender (address ")
        expect(facts).to_contain_text("Another sender (address ")
        expect(page.locator("#facts .against")).to_have_count(1)
        page.get_by_role("button", name="only this sender").last.click()
        page.get_by_label("senders disagree").uncheck()
        expect(page.locator("#queue li")).to_have_count(2)
        page.get_by_label("Sender", exact=True).fill("")
        page.get_by_label("State").select_option("accepted")
        expect(page.locator("#empty")).to_be_visible()
        expect(page.locator("#export")).to_have_text(f"seefood inbox --inbox {inbox.folder.resolve()} export FOLDER")


def test_the_heatmap_is_drawn_over_the_photo(browser: Browser, running: Server, inbox: Inbox) -> None:
    with open_review(browser, running) as page:
        expect(page.locator("#heatmap")).to_be_hidden()
        page.get_by_role("button", name="Why?").click()
        expect(page.locator("#heatmap")).to_be_visible()
        opaque = (
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 20)"
        )
        assert page.locator("#heatmap").evaluate(opaque)
        page.keyboard.press("h")
        expect(page.locator("#heatmap")).to_be_visible()
        until(lambda: _states(inbox)["accepted"] == 1)


def test_swipes_decide_on_a_phone(browser: Browser, running: Server, inbox: Inbox) -> None:
    with open_review(browser, running, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        for end, label in ((320, "hotdog"), (20, "not_hotdog")):
            box = page.locator("#view").bounding_box()
            assert box
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            session = page.context.new_cdp_session(page)
            for kind, place in (
                ("touchStart", x),
                ("touchMove", (x + end) / 2),
                ("touchMove", end),
                ("touchEnd", None),
            ):
                points = [] if place is None else [{"x": place, "y": y}]
                session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
                if kind == "touchMove" and place == end:
                    expect(page.locator("#swipe")).to_have_text("Hotdog" if label == "hotdog" else "Not hotdog")
            expect(page.locator("#progress-text")).to_have_text(f"{1 if label == 'hotdog' else 2} of 8 reviewed")
        assert sorted(_labels(inbox)) == ["hotdog", "not_hotdog"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"


@pytest.mark.usefixtures("inbox")
def test_a_wrong_key_is_asked_again_and_a_key_is_for_the_tab_only(browser: Browser, running: Server) -> None:
    with open_review(browser, running) as page:
        page.reload()
        expect(page.locator("#photo")).to_be_visible()
        other = page.context.new_page()
        other.goto(page.url)
        expect(other.locator("#key-form")).to_be_visible()
        expect(other.locator("#main")).to_be_hidden()
        other.fill("#key", "wrong")
        other.click("text=Open")
        expect(other.locator("#message")).to_contain_text("The review needs its own key")
        expect(other.locator("#main")).to_be_hidden()
        assert page.context.cookies() == []


@pytest.mark.usefixtures("inbox")
def test_the_review_works_where_storage_is_blocked(browser: Browser, running: Server) -> None:
    page = browser.new_page()
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('', 'SecurityError'); } });"
    )
    page.goto(f"http://127.0.0.1:{running.port}/review")
    page.fill("#key", KEY)
    page.click("text=Open")
    expect(page.locator("#photo")).to_be_visible()
    page.close()


def test_a_decision_that_can_not_be_recorded_comes_back(browser: Browser, running: Server, inbox: Inbox) -> None:
    with open_review(browser, running) as page:
        problem = {"status": 503, "json": {"detail": "Nothing is stored."}}
        page.route("**/review/decisions", lambda route: route.fulfill(**problem))
        page.keyboard.press("h")
        expect(page.locator("#message")).to_have_text("Nothing is stored.")
        expect(page.locator("#queue li")).to_have_count(8)
        expect(page.locator("#progress-text")).to_have_text("0 of 8 reviewed")
    assert _states(inbox)["waiting"] == 8


def test_a_decision_while_photos_are_loaded_is_counted_once(browser: Browser, running: Server, inbox: Inbox) -> None:
    """A list that was read before a decision, and arrives after it, must not bring the old counts back."""
    fill(inbox, 80, first=100)
    held: list[tuple[Route, APIResponse]] = []
    with open_review(browser, running) as page:
        page.route("**/review/photos?*after=*", lambda route: held.append((route, route.fetch())))
        page.locator("#more").click()
        while not held:
            page.wait_for_timeout(50)
        page.keyboard.press("h")
        page.wait_for_timeout(1000)  # the decision would be recorded in this time
        ((route, response),) = held
        route.fulfill(response=response)
        expect(page.locator("#queue li")).to_have_count(87)
        expect(page.locator("#progress-text")).to_have_text("1 of 88 reviewed")
        page.wait_for_timeout(500)
        expect(page.locator("#progress-text")).to_have_text("1 of 88 reviewed")
    assert _states(inbox)["accepted"] == 1


@pytest.mark.usefixtures("inbox")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, LAPTOP])
def test_axe_finds_no_barrier(browser: Browser, running: Server, scheme: str, viewport: dict[str, int]) -> None:
    with open_review(browser, running, color_scheme=scheme, viewport=viewport) as page:
        found = violations(page)
        page.locator("#queue input").first.click()
        page.get_by_role("button", name="Why?").click()
        expect(page.locator("#heatmap")).to_be_visible()
        found += violations(page)
        page.evaluate("sessionStorage.clear()")
        page.reload()
        page.fill("#key", "wrong")
        page.click("text=Open")
        expect(page.locator("#message")).not_to_be_empty()
        found += violations(page)
        assert found == []


def test_drift_is_a_line_on_the_page(browser: Browser, tmp_path: Path) -> None:
    """The model expects as many certain hotdogs as certain others, and all live photos are a pale hotdog."""
    models = write_tiny_registry(tmp_path / "models")
    expected = replace(METADATA, probability_histogram=(500, *[0] * (HISTOGRAM_BINS - 2), 500))
    write_tiny_model(models / "tiny" / "model.int8.onnx", expected.to_properties())
    folder = tmp_path / "inbox"
    fill(make_inbox(folder), 1)
    pale = encode(Image.new("RGB", (60, 50), (140, 128, 128)))
    with (
        serving(models, SEEFOOD_FEEDBACK_DIR=str(folder), SEEFOOD_REVIEW_KEY=KEY) as server,
        open_review(browser, server) as page,
    ):
        line = page.locator("#drift")
        expect(line).to_be_hidden()
        for _ in range(MIN_PHOTOS // 10):
            assert server.post_photos(*[pale] * 10).status == 200
        page.reload()
        expect(line).to_be_visible()
        expect(line).to_contain_text("The probabilities of the last 200 photos differ from")


def test_a_thousand_photos_keep_the_page_small(browser: Browser, running: Server, inbox: Inbox) -> None:
    """The page has only a part of the photos, and frees those that are out of view; it never has more elements."""
    fill(inbox, 1000, first=1000)
    with open_review(browser, running) as page:
        expect(page.locator("#progress-text")).to_have_text("0 of 1008 reviewed")
        most = page.evaluate("document.querySelectorAll('*').length")
        for done in range(1, 401):
            page.keyboard.press("h")
            expect(page.locator("#progress-text")).to_have_text(f"{done} of 1008 reviewed")
            if done % 20:
                continue
            expect(page.locator("#queue li").nth(20)).to_be_attached()
            assert page.locator("#queue li").count() <= 120
            assert page.evaluate("document.querySelectorAll('*').length") <= 2 * most
        assert _states(inbox)["accepted"] == 400
        page.keyboard.press("u")
        expect(page.locator("#progress-text")).to_have_text("399 of 1008 reviewed")
        while page.locator("#more").is_visible():
            before = page.locator("#queue li").count()
            page.locator("#more").click()
            expect(page.locator("#queue li").nth(before)).to_be_attached()
        assert page.locator("#queue li").count() == 609
        assert page.locator("#queue img[src]").count() < 100, "only photos in view are loaded"
        page.locator("#select-all").check()
        page.keyboard.press("d")
        expect(page.locator("#progress-text")).to_have_text("1008 of 1008 reviewed")
    assert _states(inbox) == {"waiting": 0, "accepted": 399, "dropped": 609}
