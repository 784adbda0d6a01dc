"""The installed page: it works without the service, takes shared photos, and follows a new version of the model."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.fixtures.load import until
from tests.fixtures.page import MODEL, WEB, open_page, photo, reload, worker_script
from tests.fixtures.server import Server, serving


def _ready(page: Page) -> None:
    """Wait until the service worker controls the page."""
    page.evaluate(
        """() => navigator.serviceWorker.controller ||
            new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", () => resolve()))"""
    )


def test_the_service_worker_keeps_every_file_of_the_page() -> None:
    kept = set(re.findall(r'"(web/[^"?]+[^"?/])"', (WEB / "sw.js").read_text("utf-8")))
    modules = {f"web/{path.name}" for path in WEB.glob("*.js")} - {"web/sw.js", "web/docs.js"}
    languages = {f"web/languages/{path.name}" for path in (WEB / "languages").glob("*.json")}
    others = {"web/icon.svg", "web/manifest.webmanifest", "web/page.css", "web/model.json"}
    assert kept == modules | languages | others | {"web/ort/ort.wasm.bundle.min.mjs"}


def test_the_manifest_can_be_installed() -> None:
    manifest = json.loads((WEB / "manifest.webmanifest").read_text("utf-8"))
    assert manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        path = WEB / icon["src"]
        assert path.stat().st_size < 20_000
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert icon["sizes"] == "{}x{}".format(*picture.size)
    assert {icon["sizes"] for icon in manifest["icons"]} >= {"192x192", "512x512"}
    assert manifest["share_target"]["params"]["files"][0]["accept"] == ["image/*"]


@pytest.mark.slow
def test_a_shared_photo_is_answered_once(browser: Browser, tiny_server: Server, tmp_path: Path) -> None:
    with open_page(browser, tiny_server.port, service_workers="allow") as page:
        _ready(page)
        for colours, words in ((["red"], "Hotdog"), (["red", "blue"], "Hotdog: 1 of 2")):
            photos = [list(photo(colour, tmp_path).read_bytes()) for colour in colours]
            url = page.evaluate(
                """async (photos) => {
                    const form = new FormData();
                    for (const bytes of photos) {
                        form.append("photos", new File([new Uint8Array(bytes)], "a.jpg", { type: "image/jpeg" }));
                    }
                    return (await fetch("share", { method: "POST", body: form })).url;
                }""",
                photos,
            )
            page.goto(url)
            expect(page.locator("#verdict")).to_have_text(words)
            assert page.url.endswith("/")
        page.reload()
        expect(page.locator("#invite")).to_be_visible()


@pytest.mark.slow
def test_the_page_opens_without_the_service(browser: Browser, tiny_models: Path) -> None:
    with serving(tiny_models) as server, open_page(browser, server.port, service_workers="allow") as page:
        _ready(page)
        server.stop()
        page.reload()
        expect(page.locator("#invite strong")).to_have_text("Show me a photo")
        page.select_option("#language", "es")
        expect(page.locator("#invite strong")).to_have_text("Mu\u00e9strame una foto")


@contextmanager
def _static_site(folder: Path) -> Iterator[int]:
    """Serve the page as files in a subfolder, without a service; yields the port."""
    shutil.copytree(WEB, folder / "site" / "web", ignore=shutil.ignore_patterns("ort"))
    for name in ("index.html", "sw.js"):
        shutil.copy(WEB / name, folder / "site")
    (folder / "site" / "web" / "worker.js").write_text(worker_script())
    for name in ("models/first.onnx", "models/second.onnx", "ort/ort.wasm"):
        path = folder / "site" / "web" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"model")
    _write_model(folder, "first")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    hangs = False
    is_down = False

    def do_GET(self) -> None:
        if self.is_down:
            self.send_error(502)
        elif self.hangs and self.path.endswith("model.json"):
            threading.Event().wait(60)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.send_error(502 if self.is_down else 404)

    def log_message(self, *_: object) -> None:
        pass


def _write_model(folder: Path, version: str) -> None:
    path = folder / "site" / "web" / "model.json"
    path.write_text(json.dumps(MODEL | {"version": version, "url": f"models/{version}.onnx"}))
    if version == "first":  # the server compares whole seconds, and answers 304 for a file of the same second
        os.utime(path, (time.time() - 2,) * 2)


def _kept(page: Page) -> list[str]:
    """Return what the service worker keeps of the model."""
    keys = "async () => (await (await caches.open('seefood-model')).keys()).map(({ url }) => url.split('/web/')[1])"
    return sorted(page.evaluate(keys))


@pytest.mark.slow
def test_after_one_visit_the_device_answers_without_a_network(browser: Browser, tmp_path: Path) -> None:
    with (
        ExitStack() as site,
        open_page(browser, site.enter_context(_static_site(tmp_path)), "/site/", service_workers="allow") as page,
    ):
        _ready(page)
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")
        until(lambda: _kept(page) == ["model.json", "models/first.onnx", "ort/ort.wasm?v=1"])
        site.close()
        reload(page)
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")


@pytest.mark.slow
def test_another_version_of_the_model_replaces_the_kept_one(browser: Browser, tmp_path: Path) -> None:
    with _static_site(tmp_path) as port, open_page(browser, port, "/site/", service_workers="allow") as page:
        _ready(page)
        page.reload()
        expect(page.locator("#where-note")).to_have_text("The model is on this device.")
        _write_model(tmp_path, "second")
        page.reload()
        expect(page.locator("#where-note")).to_have_text("The model is on this device.")
        until(lambda: _kept(page) == ["model.json", "models/second.onnx", "ort/ort.wasm?v=1"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hangs", "is_down"])
def test_a_network_that_hangs_and_a_proxy_without_a_service_count_as_none(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with _static_site(tmp_path) as port, open_page(browser, port, "/site/", service_workers="allow") as page:
        _ready(page)
        reload(page)
        expect(page.locator("#where-note")).to_have_text("The model is on this device.")
        monkeypatch.setattr(_QuietHandler, fault, True)
        reload(page)
        expect(page.locator("#where-note")).to_have_text("The model is on this device.")
        page.set_input_files("#photo", photo("red", tmp_path))
        expect(page.locator("#source")).to_have_text("on this device, 20 ms")


@pytest.mark.slow
def test_the_page_works_where_nothing_can_be_kept(browser: Browser, tmp_path: Path) -> None:
    full = """self.caches.open = ((open) => async (name) => {
        const cache = await open.call(caches, name);
        cache.put = () => Promise.reject(new DOMException("", "QuotaExceededError"));
        return cache;
    })(self.caches.open);
"""
    with _static_site(tmp_path) as port:
        worker = tmp_path / "site" / "sw.js"
        worker.write_text(full + worker.read_text())
        with open_page(browser, port, "/site/", service_workers="allow") as page:
            _ready(page)
            reload(page)
            page.set_input_files("#photo", photo("red", tmp_path))
            expect(page.locator("#source")).to_have_text("on this device, 20 ms")
