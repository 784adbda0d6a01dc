"""Folders of photos, and files of results."""

from pathlib import Path

import pytest
from PIL import Image

from tests.fixtures.drawing import encode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with photos of four colours, one of them in a subfolder, an unreadable photo, and other files."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    colours = {"blue": (0, 0, 255), "grey": (90, 90, 90), "deeper/red": (255, 0, 0), "yellow": (255, 255, 0)}
    for name, colour in colours.items():
        (folder / f"{name}.png").write_bytes(encode(Image.new("RGB", (30, 20), colour), "PNG"))
    (folder / "broken.jpg").write_bytes(b"nothing to see")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the path of a file of results, in each format."""
    return tmp_path / f"out.{request.param}"
