"""Fixtures of the tests of training."""

from collections.abc import Iterator

import pytest

from training.evaluation import metrics, synthetic
from training.evaluation.slices import MIN_PHOTOS


@pytest.fixture(scope="package", autouse=True)
def _short_evaluation() -> Iterator[None]:
    """Use few resamples and few synthetic pictures; each training run evaluates with both, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_RESAMPLES", 100)
        patch.setattr(synthetic, "EACH", MIN_PHOTOS)
        yield
