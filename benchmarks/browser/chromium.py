"""The page of a service in headless Chromium, whose model answers photos."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# device.js is the module that the page uses.
_LOAD = """async () => {
    const device = await import("/web/device.js");
    const model = await device.describe();
    await device.load(() => {});
    return model;
}"""
_PREDICT = """async (photo) => {
    const { predict } = await import("/web/device.js");
    const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
    return predict(new Blob([bytes]));
}"""

_SHRINK = """async (photo) => {
    const { shrink } = await import("/web/shrink.js");
    const bytes = Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
    const { blob } = await shrink(new Blob([bytes]));
    const sent = new Uint8Array(await blob.arrayBuffer());
    let text = "";
    for (let at = 0; at < sent.length; at += 8192) text += String.fromCharCode(...sent.subarray(at, at + 8192));
    return btoa(text);
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the installed Chromium, headless; raises RuntimeError if there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


class Shrinker:
    """The page's own re-encoding of a photo before it is sent."""

    def __init__(self, browser: Browser, url: str) -> None:
        """Open the page of a service, whose address ends with a slash."""
        self._page: Page = browser.new_page(service_workers="block")
        self._page.goto(url)

    def shrink(self, photo: bytes) -> bytes:
        """Return the JPEG that the page sends for a photo."""
        return base64.b64decode(self._page.evaluate(_SHRINK, base64.b64encode(photo).decode()))


class BrowserModel:
    """The model that a service offers to browsers, loaded in its page.

    Attributes:
        description: the service's /web/model.json.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        """Open the page of a service, whose address ends with a slash, and load the model."""
        self._page: Page = browser.new_page(service_workers="block")
        self._page.add_init_script(
            "localStorage.setItem('seefood-where', 'service')"
        )  # the page itself does not load it
        self._page.goto(url)
        self.description: dict[str, Any] = self._page.evaluate(_LOAD)

    def predict(self, photo: bytes) -> dict[str, Any]:
        """Return the prediction for a photo: the fields of POST /v1/predict and `milliseconds` of the inference."""
        prediction: dict[str, Any] = self._page.evaluate(_PREDICT, base64.b64encode(photo).decode())
        return prediction
