"""Fixtures of the tests of data."""

from pathlib import Path

import pytest

from tests.fixtures.drawing import draw_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a training folder of drawn pictures, which the test may change."""
    return draw_folder(tmp_path / "photos", each=33)
