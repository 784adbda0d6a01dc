"""Fixtures of the tests of evaluation."""

from pathlib import Path

import pytest

from tests.fixtures.painting import paint


@pytest.fixture
def kinds(tmp_path: Path) -> Path:
    """Return a folder where the model is right about 9 of 10 grilled, 5 of 10 raw, and all of 12 others."""
    folder = tmp_path / "kinds"
    paint(folder, {f"hotdog/grilled-{i}.png": "red" if i < 9 else "blue" for i in range(10)})
    paint(folder, {f"hotdog/raw-{i}.png": "red" if i < 5 else "blue" for i in range(10)})
    paint(folder, {f"not_hotdog/{i}.png": "blue" for i in range(12)})
    return folder
