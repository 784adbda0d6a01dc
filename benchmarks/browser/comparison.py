"""Measure the model in the browser: parity with the service, and bytes and seconds of a first visit."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from playwright.sync_api import Browser

from benchmarks.browser.chromium import BrowserModel, Shrinker, chromium
from benchmarks.browser.parity import Predict, compare, drawn_photos, enlarged, real_photos
from benchmarks.browser.relay import relayed
from benchmarks.photos import SIZES
from benchmarks.photos import photo as noise
from benchmarks.serving.contenders import SEEFOOD
from benchmarks.serving.load import Body
from benchmarks.serving.running import running
from service.registry import CURRENT, FILES, PHONE, version_of

PHOTOS, SHRUNK = 300, 500
_MODELS = {"ResNet-18": CURRENT, "phone": PHONE}


def measure(models: Path, photos: Path) -> dict[str, Any]:
    """Return the results of each model file, by its name and precision.

    Args:
        models: the registry.
        photos: folder of test photos, as ../shared/data.
    """
    found: dict[str, Any] = {}
    for name, pointer in _MODELS.items():
        for precision in FILES:
            path = models / version_of(models, pointer) / FILES[precision]
            found[f"{name}, {precision}"] = _measure(path, photos) if path.is_file() else {"error": f"no {path.name}"}
    return {"models": found, "shrunk": _shrunk(models / version_of(models, CURRENT) / FILES["int8"], photos)}


def _shrunk(path: Path, photos: Path) -> dict[str, Any]:
    """Compare the service's answers to photos with those to the photos that the page sends in their place."""
    with _service(path) as (predict, url), chromium() as browser:
        page = Shrinker(browser, url)
        camera = noise(SIZES["12 MP"])

        def predict_shrunk(photo: bytes) -> dict[str, Any]:
            return {"milliseconds": 0} | predict(page.shrink(photo))

        return {
            "real": compare(real_photos(photos, SHRUNK), predict, predict_shrunk),
            "enlarged": compare(enlarged(real_photos(photos, 100), 2048), predict, predict_shrunk),
            "12 MP": [len(camera), len(page.shrink(camera))],
        }


def _measure(path: Path, photos: Path) -> dict[str, Any]:
    with _service(path) as (predict, url), chromium() as browser:
        model = BrowserModel(browser, url)
        port = int(url.rstrip("/").rsplit(":")[-1])
        return {
            "bytes": path.stat().st_size,
            "real": compare(real_photos(photos, PHOTOS), predict, model.predict),
            "enlarged": compare(enlarged(real_photos(photos, 100), 1024), predict, model.predict),
            "drawn": compare(drawn_photos(), predict, model.predict),
            "visit": _visit(browser, port, throttled=False),
            "4G": _visit(browser, port, throttled=True),
        }


@contextmanager
def _service(path: Path) -> Iterator[tuple[Predict, str]]:
    """Run the service with a model file; yields what classifies a photo, and the address of the page."""
    with TemporaryDirectory() as scratch:
        body = Body.of(noise(SIZES["0.3 MP"]), Path(scratch))
        with running(SEEFOOD, body, settings={"SEEFOOD_MODEL": str(path)}) as run:

            def predict(photo: bytes) -> dict[str, Any]:
                request = Request(run.url, photo, {"Content-Type": "image/jpeg"})  # noqa: S310 - a local URL
                with urlopen(request, timeout=30) as answer:  # noqa: S310 - a local URL
                    prediction: dict[str, Any] = json.load(answer)["predictions"][0]
                    return prediction

            yield predict, run.url.removesuffix("v1/predict")


def _visit(browser: Browser, port: int, *, throttled: bool) -> dict[str, Any]:
    """Open the page as a new visitor, and wait until the model has answered a photo on the device."""
    with relayed(port, throttled=throttled) as relay:
        context = browser.new_context(viewport={"width": 390, "height": 844}, service_workers="block")
        page = context.new_page()
        page.add_init_script("localStorage.setItem('seefood-where', 'phone')")
        started = time.monotonic()
        page.goto(f"http://localhost:{relay.port}/")
        page.wait_for_selector("#invite strong:not(:empty)")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        page.set_input_files(
            "#photo", {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": noise(SIZES["0.3 MP"])}
        )
        page.wait_for_selector("#source:not(:empty)", timeout=120_000)
        seconds = time.monotonic() - started
        context.close()
        return {"bytes": relay.received, "seconds": round(seconds, 1), "first_paint_ms": round(paint)}
