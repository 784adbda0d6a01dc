"""Fixtures of the tests of training."""

from collections.abc import Iterator

import pytest

from training.evaluation import metrics


@pytest.fixture(scope="package", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Use a tenth of the resamples: scikit-learn takes seconds for a thousand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_RESAMPLES", 100)
        yield
