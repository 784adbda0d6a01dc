"""Fixtures of the tests of training."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.small_backbone import write_weights
from training.evaluation import metrics, synthetic
from training.evaluation.slices import MIN_PHOTOS


@pytest.fixture(scope="package", autouse=True)
def _short_evaluation() -> Iterator[None]:
    """Use few resamples and few synthetic pictures; each training run evaluates with both, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_RESAMPLES", 100)
        patch.setattr(synthetic, "EACH", MIN_PHOTOS)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return random weights of the small backbone as a file, which counts as pretrained."""
    return write_weights(tmp_path_factory.mktemp("weights") / "small.pth")
