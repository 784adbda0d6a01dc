"""The report of a trained version, opened in a real browser."""

import re
import shutil
from pathlib import Path
from typing import Literal

import pytest

from service.model import current_version
from tests.fixtures.browser import open_browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(trained_models: Path) -> Path:
    return trained_models / current_version(trained_models) / "report"


def test_it_is_one_file_that_needs_no_other(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:image/png;base64,)""", page)
    assert not re.findall(r"url\(|@import|<script", page)
    assert {path.name for path in report.glob("*.png")} == {
        "curves.png",
        "data-test-mistakes.png",
        "data-test.png",
        "kernels.png",
        "maps.png",
        "samples.png",
        "validation.png",
    } - ({"data-test-mistakes.png"} if "No verdict is wrong." in page else set())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_is_read_on_any_screen(report: Path, tmp_path: Path, scheme: Literal["light", "dark"], width: int) -> None:
    alone = shutil.copy(report / "index.html", tmp_path / "report.html")
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.goto(f"file://{alone}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        headings = page.locator("h2").all_inner_texts()
        assert headings == [
            "The photos",
            "The fit",
            "Photos held back for validation",
            "Test: data/test",
            "Inside the network",
        ]
        ground, ink = (
            [int(number) for number in re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{name}"))]
            for name in ("backgroundColor", "color")
        )
        assert abs(sum(ground) - sum(ink)) > 400, "the text stands out"
