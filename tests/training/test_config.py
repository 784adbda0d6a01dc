"""Hyperparameters and threshold targets."""

import pytest

from service.errors import SeeFoodError
from training.config import Hyperparameters, ThresholdTarget


def test_few_photos_make_small_batches() -> None:
    assert [Hyperparameters().batch(photos) for photos in (60, 500, 1024, 4000)] == [8, 15, 32, 32]
    assert Hyperparameters(batch_size=16).batch(4000) == 16


@pytest.mark.parametrize("text", ["accuracy", "precision=0.99", "recall=0.5"])
def test_a_threshold_target_is_parsed(text: str) -> None:
    assert str(ThresholdTarget.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "speed", "precision", "precision=", "precision=high", "recall=0", "recall=1.5", "accuracy=1"]
)
def test_an_invalid_threshold_target_is_a_sentence(text: str) -> None:
    with pytest.raises(SeeFoodError, match=r"--aim .* is not valid; use accuracy, precision=NUMBER or recall="):
        ThresholdTarget.parse(text)
