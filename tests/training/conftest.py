"""What the tests of training share."""

from collections.abc import Iterator

import pytest

from training.evaluation import evaluate


@pytest.fixture(scope="package", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Let intervals cost a tenth of what they do: scikit-learn takes seconds for a thousand of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_RESAMPLES", 100)
        yield
