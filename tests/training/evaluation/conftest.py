"""Fixtures of the tests of evaluation."""

from pathlib import Path

import pytest

from tests.fixtures.painting import paint


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    """Return a folder for which the model is right for 9 of 10 grilled, 5 of 10 raw and all 12 other photos."""
    folder = tmp_path / "kinds"
    paint(folder, {f"hotdog/grilled-{i}.png": "red" if i < 9 else "blue" for i in range(10)})
    paint(folder, {f"hotdog/raw-{i}.png": "red" if i < 5 else "blue" for i in range(10)})
    paint(folder, {f"not_hotdog/{i}.png": "blue" for i in range(12)})
    return folder
