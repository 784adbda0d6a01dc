"""The web page in a browser: photos, verdicts, heatmap, errors and feedback, with the service answering."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.fixtures.axe import violations
from tests.fixtures.page import LAPTOP, PHONE, answer_problem, change_model, halves, open_page, photo, reload
from tests.fixtures.server import Server, serving

pytestmark = pytest.mark.slow

LARGEST = 60_000  # bytes of the page without the model


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the feedback."""
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture(scope="module")
def tiny_server(tiny_models: Path, stored: Path) -> Iterator[Server]:
    with serving(tiny_models, SEEFOOD_FEEDBACK_DIR=str(stored)) as running:
        yield running


@pytest.fixture
def page(browser: Browser, tiny_server: Server) -> Iterator[Page]:
    with open_page(browser, tiny_server.port) as page:
        yield page


@pytest.mark.parametrize("viewport", [{"width": 320, "height": 568}, PHONE, LAPTOP, {"width": 3840, "height": 2160}])
def test_the_verdict_is_large_and_visible_without_scrolling(
    browser: Browser, tiny_server: Server, tmp_path: Path, viewport: dict[str, int]
) -> None:
    with open_page(browser, tiny_server.port, viewport=viewport) as page:
        verdict = page.locator("#verdict")
        for colour, words in (("red", "Hotdog"), ("blue", "Not hotdog"), ("red", "Hotdog")):
            page.set_input_files("#photo", photo(colour, tmp_path))
            expect(verdict).to_have_text(words)
            expect(page.locator("#preview")).to_be_visible()
        expect(page.locator("#sure")).to_have_text("99% sure")
        expect(page.locator("#source")).to_contain_text("by the service")
        assert verdict.evaluate("element => parseFloat(getComputedStyle(element).fontSize)") >= 44
        for part in ("#verdict", "#shutter", "#privacy"):
            expect(page.locator(part)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"


def test_the_page_is_small(browser: Browser, tiny_server: Server) -> None:
    sizes: dict[str, int] = {}

    def listen(page: Page) -> None:
        page.on("requestfinished", lambda sent: sizes.update({sent.url: len(_body(sent))}))

    with open_page(browser, tiny_server.port, before=listen) as page:
        page.wait_for_load_state("networkidle")
    assert len(sizes) > 10
    total = sum(sizes.values())
    assert total < LARGEST, f"{total}: {sizes}"


def _body(sent: Request) -> bytes:
    response = sent.response()
    return response.body() if response and response.ok else b""


def test_texts_are_loaded_again_when_the_connection_fails(browser: Browser, tiny_server: Server) -> None:
    failed: list[Route] = []

    def fail_twice(route: Route) -> None:
        if len(failed) == 2:
            return route.continue_()
        failed.append(route)
        return route.abort("connectionreset")

    def unreliable(page: Page) -> None:
        page.route("**/web/languages/en.json", fail_twice)

    with open_page(browser, tiny_server.port, before=unreliable) as page:
        expect(page.locator("[data-text=choose]")).to_have_text("Photos")
    assert len(failed) == 2


def test_the_language_that_was_chosen_last_is_kept(browser: Browser, tiny_server: Server) -> None:
    held: list[Route] = []
    with open_page(browser, tiny_server.port) as page:
        page.route("**/web/languages/es.json", lambda route: held.append(route))
        page.select_option("#language", "es")
        page.select_option("#language", "pt-BR")
        expect(page.locator("html")).to_have_attribute("lang", "pt-BR")
        expect(page.locator("[data-text=choose]")).to_have_text("Fotos")
        invitation = page.locator("[data-text=invite]").text_content()
        assert len(held) == 1
        with page.expect_response("**/web/languages/es.json"):
            held[0].continue_()
        page.wait_for_timeout(500)
        expect(page.locator("[data-text=invite]")).to_have_text(str(invitation))
        expect(page.locator("html")).to_have_attribute("lang", "pt-BR")


def test_a_dropped_photo_and_a_pasted_one_are_answered(page: Page, tmp_path: Path) -> None:
    give = """async ([kind, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "photo.jpg", { type: "image/jpeg" }));
        const drop = () => new DragEvent(kind, { dataTransfer: data });
        const paste = () => new ClipboardEvent(kind, { clipboardData: data });
        document.dispatchEvent(kind === "drop" ? drop() : paste());
    }"""
    for kind, colour, words in (("drop", "red", "Hotdog"), ("paste", "blue", "Not hotdog")):
        page.evaluate(give, [kind, list(photo(colour, tmp_path).read_bytes())])
        expect(page.locator("#verdict")).to_have_text(words)


def test_only_a_small_upright_photo_without_exif_data_is_sent(page: Page, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    page.evaluate("""() => {
        const send = window.fetch;
        window.fetch = (path, options) => {
            window.sent = options.body;
            return send(path, options);
        };
    }""")
    page.set_input_files("#photo", photo("red", tmp_path, (2000, 1000), exif=exif))
    expect(page.locator("#verdict")).to_have_text("Hotdog")
    sent = page.evaluate("async () => [...new Uint8Array(await sent.arrayBuffer())]")
    with Image.open(io.BytesIO(bytes(sent))) as received:
        assert received.size == (512, 1024)
        assert not received.getexif()


def test_an_uncertain_photo_gets_no_verdict(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", photo("grey", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not clear")
    expect(page.locator("#sure")).to_have_text("Hotdog? Only 50% sure.")


def test_an_unfamiliar_photo_gets_no_probability(page: Page, tmp_path: Path) -> None:
    said = page.get_by_text("This photo is unlike the training photos.", exact=True)
    for colour, unseen in (("yellow", True), ("red", False), ("yellow", True)):
        page.set_input_files("#photo", photo(colour, tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        expect(said).to_be_visible(visible=unseen)
        expect(page.locator("#sure")).to_have_text("This answer may well be wrong." if unseen else "99% sure")
    (tmp_path / "text.jpg").write_text("I am not a photo.")
    page.set_input_files("#photo", tmp_path / "text.jpg")
    expect(page.locator("#verdict")).to_have_text("This is not a photo")
    expect(said).to_be_hidden()


def test_the_heatmap_has_the_numbers_of_the_answer(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", halves(tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not clear")
    button = page.get_by_role("button", name="Why?")
    expect(page.locator("#heatmap")).to_be_hidden()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#heatmap")).to_be_visible()
    left, middle, right = (
        page.evaluate(
            """place => {
                const canvas = document.querySelector("#heatmap");
                const x = place * (canvas.width - 1);
                return [...canvas.getContext("2d").getImageData(x, canvas.height / 2, 1, 1).data];
            }""",
            place,
        )
        for place in (0, 0.5, 1)
    )
    assert left == pytest.approx([214, 32, 32, 191], abs=2), "red at full opacity"
    assert right == pytest.approx([24, 82, 214, 191], abs=2), "blue at full opacity"
    assert middle[3] < 10, "clear between the two, because the heatmap is interpolated"
    assert page.evaluate("(({ width, height }) => width / height)(document.querySelector('#heatmap'))") == 256 / 192
    button.click()
    expect(page.locator("#heatmap")).to_be_hidden()


def test_several_photos_are_a_grid_of_verdicts(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("I am not a photo.")
    photos = [photo(colour, tmp_path) for colour in ("red", "blue", "grey")] + [tmp_path / "text.jpg"]
    page.set_input_files("#photo", photos)
    expect(page.locator("#verdict")).to_have_text("Hotdog: 1 of 4")
    words = ["Hotdog", "Not hotdog", "Not clear", "This is not a photo"]
    expect(page.locator("#grid button span")).to_have_text(words)
    page.locator("#grid button").nth(1).click()
    expect(page.locator("#preview")).to_be_visible()
    expect(page.locator("#verdict")).to_have_text("Not hotdog")
    back = page.get_by_role("button", name="All photos")
    expect(back).to_be_focused()
    back.click()
    expect(page.locator("#grid button span")).to_have_text(words)
    expect(page.locator("#grid button").first).to_be_focused()


def test_several_photos_without_an_answer_end(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    def gone(page: Page) -> None:
        page.route("**/v1/**", lambda route: route.abort())

    with open_page(browser, tiny_server.port, before=gone) as page:
        page.set_input_files("#photo", [photo(colour, tmp_path) for colour in ("red", "blue")])
        expect(page.locator("#grid button span")).to_have_text(["No answer"] * 2)
        expect(page.locator("#answer")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (413, "The photo is too large"),
        (415, "This is not a photo"),
        (429, "The service is busy"),
        (500, "Something went wrong"),
        (404, "No service here"),
        (502, "No answer"),
    ],
)
def test_an_error_of_the_service_is_said_in_words(page: Page, tmp_path: Path, status: int, title: str) -> None:
    answer_problem(page, "**/v1/predict*", status)
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text(title)
    page.unroute_all()
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Hotdog")


def test_a_service_that_is_gone_and_a_missing_network_are_said_in_words(page: Page, tmp_path: Path) -> None:
    page.route("**/v1/predict*", lambda route: route.abort())
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("No answer")
    page.unroute_all()
    page.context.set_offline(True)
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("You are offline")


def test_the_page_says_that_it_is_busy(page: Page, tmp_path: Path) -> None:
    held: list[Route] = []
    page.route("**/v1/predict*", lambda route: held.append(route))
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Looking …")
    page.wait_for_timeout(100)
    held[0].continue_()
    expect(page.locator("#verdict")).to_have_text("Hotdog")


def _lock(page: Page) -> None:
    """Refuse requests without a key, as a service with API keys does."""

    def check(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer correct-horse":
            route.continue_()
        else:
            route.fulfill(status=401, json={"detail": "."}, content_type="application/problem+json")

    page.route("**/v1/**", check)


def test_a_key_is_asked_for_and_kept_for_the_session(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=_lock) as page:
        expect(page.locator("#key")).to_be_hidden()
        expect(page.locator("#privacy")).to_contain_text("does not know yet whether it stores them")
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#verdict")).to_have_text("A key is needed")
        expect(page.locator("#key")).to_be_focused()
        wrong = ("wrong", "\u201ccorrect-horse\u201d")  # no header can have these quotes
        for key, words in (*((key, "A key is needed") for key in wrong), ("correct-horse", "Hotdog")):
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator("#verdict")).to_have_text(words)
        expect(page.locator("#key")).to_be_hidden()
        reload(page)
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Not hotdog")


@pytest.mark.parametrize(
    "script",
    [
        """for (const name of ["localStorage", "sessionStorage"])
            Object.defineProperty(window, name, { get() { throw new DOMException("", "SecurityError"); } });""",
        """Storage.prototype.setItem = () => { throw new DOMException("", "QuotaExceededError"); };""",
    ],
    ids=["blocked", "full"],
)
def test_the_page_works_where_storage_is(browser: Browser, tiny_server: Server, tmp_path: Path, script: str) -> None:
    def without_storage(page: Page) -> None:
        _lock(page)
        page.add_init_script(f"{script} caches.open = () => Promise.reject(new DOMException('', 'SecurityError'));")

    with open_page(browser, tiny_server.port, before=without_storage) as page:
        page.set_input_files("#photo", photo("red", tmp_path))
        page.get_by_label("API key").fill("correct-horse")
        page.keyboard.press("Enter")
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        page.get_by_role("link", name="Look inside").click()
        page.wait_for_url("**/inside")


def test_a_wrong_answer_is_reported_and_undone(page: Page, tmp_path: Path, stored: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    page.set_input_files("#photo", photo("red", tmp_path, (2000, 1000), exif=exif))
    page.get_by_role("button", name="Wrong?").click()
    expect(page.locator("#feedback-text")).to_contain_text("1024 \N{MULTIPLICATION SIGN} 512 pixels")
    expect(page.locator("#feedback-photo")).to_be_visible()
    assert not list(stored.glob("photos/*"))
    page.get_by_role("button", name="Send as “Not hotdog”").click()
    expect(page.locator("#feedback-text")).to_contain_text("stored as “Not hotdog”")
    (path,) = stored.glob("photos/*")
    with Image.open(path) as received:
        assert received.size == (1024, 512)
        assert not received.getexif()
    expect(page.locator("#receipt code")).not_to_be_empty()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Reported").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#feedback-text")).to_have_text("The photo is deleted.")
    assert not list(stored.glob("photos/*"))


def test_a_refused_report_is_said_in_words(page: Page, tmp_path: Path, tiny_server: Server) -> None:
    page.set_input_files("#photo", photo("blue", tmp_path))
    page.get_by_role("button", name="Wrong?").click()
    send = page.get_by_role("button", name="Send as “Hotdog”")
    for status, slug, title in (
        (429, "feedback-quota", "Too many reports."),
        (404, "feedback-off", "Reports are off."),
        (400, "unknown-label", "The labels have changed."),
        (429, "too-many-requests", "The service is busy."),
    ):
        answer_problem(page, "**/v1/feedback*", status, slug)
        send.click()
        expect(page.locator("#feedback-text")).to_contain_text(title)
    page.unroute_all()
    send.click()
    expect(page.locator("#receipt code")).not_to_be_empty()
    receipt = page.locator("#receipt code").text_content()
    assert tiny_server.request("DELETE", f"/v1/feedback/{receipt}").status == 204
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#feedback-text")).to_contain_text(
        "The receipt is not valid. The photo may be deleted already."
    )


def test_a_photo_that_is_read_late_does_not_replace_that_of_a_later_report(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Hotdog")
    page.evaluate("""() => {
        const decode = window.createImageBitmap;
        window.createImageBitmap = async (...all) => {
            window.createImageBitmap = decode;
            await new Promise((resolve) => (window.read = resolve));
            return decode(...all);
        };
    }""")
    page.get_by_role("button", name="Wrong?").click()
    page.keyboard.press("Escape")
    page.set_input_files("#photo", photo("blue", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not hotdog")
    page.get_by_role("button", name="Wrong?").click()
    send = page.locator("#feedback-buttons button")
    expect(send).to_have_text("Send as “Hotdog”")
    page.evaluate("read()")
    page.wait_for_timeout(500)
    expect(send).to_have_text("Send as “Hotdog”")


def test_either_label_may_be_right_where_the_model_cant_tell(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", photo("grey", tmp_path))
    page.get_by_role("button", name="Wrong?").click()
    expect(page.locator("#feedback-buttons button")).to_have_text(["Send as “Hotdog”", "Send as “Not hotdog”"])


def test_nothing_is_reported_where_feedback_is_off(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, before=change_model(feedback=False)) as page:
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        expect(page.locator("#wrong")).to_be_hidden()
        expect(page.locator("#privacy")).to_have_text("Photos are sent to the service. It does not store them.")


def test_the_page_is_used_with_the_keyboard_alone(page: Page) -> None:
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["language", "open-settings", "photo", "shutter", "continuous", "change"]
    page.keyboard.press("Enter")
    expect(page.locator("#settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "change"


def test_sound_and_vibration_are_off_until_they_are_chosen(page: Page, tmp_path: Path) -> None:
    page.evaluate("""() => {
        window.given = [];
        navigator.vibrate = (pattern) => given.push(pattern);
        AudioContext.prototype.resume = () => given.push("sound");
    }""")
    page.set_input_files("#photo", photo("red", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Hotdog")
    assert page.evaluate("given") == []
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Sound").check()
    page.get_by_label("Vibration").check()
    page.keyboard.press("Escape")
    page.evaluate("given.length = 0")
    page.set_input_files("#photo", photo("blue", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not hotdog")
    assert page.evaluate("given") == ["sound", [60, 60, 60]]


@pytest.mark.parametrize(
    ("locale", "verdict"), [("pt-PT", "Não é cachorro-quente"), ("es-MX", "No es hot dog"), ("ja-JP", "Not hotdog")]
)
def test_the_language_is_that_of_the_browser(
    browser: Browser, tiny_server: Server, tmp_path: Path, locale: str, verdict: str
) -> None:
    with open_page(browser, tiny_server.port, locale=locale) as page:
        page.set_input_files("#photo", photo("blue", tmp_path))
        expect(page.locator("#verdict")).to_have_text(verdict)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_chosen_language_is_kept(page: Page, tmp_path: Path) -> None:
    page.set_input_files("#photo", photo("blue", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Not hotdog")
    page.select_option("#language", "es")
    expect(page.locator("#verdict")).to_have_text("No es hot dog")
    page.reload()
    expect(page.locator("#invite strong")).to_have_text("Muéstrame una foto")
    assert page.get_attribute("html", "lang") == "es"


def test_a_label_without_a_translation_is_shown_as_words(page: Page, tmp_path: Path) -> None:
    body = {"predictions": [{"label": "hot_dish", "probability": 0.02, "uncertain": False}]}
    page.route("**/v1/predict*", lambda route: route.fulfill(body=json.dumps(body), content_type="application/json"))
    page.set_input_files("#photo", photo("blue", tmp_path))
    expect(page.locator("#verdict")).to_have_text("Hot dish")
    expect(page.locator("#sure")).to_have_text("98% sure")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(browser: Browser, tiny_server: Server, tmp_path: Path, scheme: str) -> None:
    with open_page(browser, tiny_server.port, color_scheme=scheme, reduced_motion="reduce") as page:
        found = violations(page)
        for colour in ("red", "blue", "grey"):
            page.set_input_files("#photo", photo(colour, tmp_path))
            expect(page.locator("#source")).not_to_be_empty()
            found += violations(page)
        page.get_by_role("button", name="Why?").click()
        page.get_by_role("button", name="Wrong?").click()
        expect(page.locator("#feedback-buttons button").first).to_be_visible()
        found += violations(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Settings").click()
        found += violations(page)
        page.keyboard.press("Escape")
        page.set_input_files("#photo", [photo("red", tmp_path), photo("blue", tmp_path)])
        expect(page.locator("#verdict")).to_have_text("Hotdog: 1 of 2")
        found += violations(page)
        assert found == []


def test_nothing_moves_where_a_person_wants_no_motion(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, reduced_motion="reduce") as page:
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#verdict")).to_have_text("Hotdog")
        assert page.evaluate("document.getAnimations().length") == 0
