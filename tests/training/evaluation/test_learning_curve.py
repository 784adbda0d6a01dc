"""The error falls with the number of photos, and the forecast has an interval."""

import re

import numpy as np
import pytest

from training.evaluation.learning_curve import Array, learning_curve

SENTENCE = re.compile(
    r"With 300 training photos, a linear probe is wrong on [\d.]+% of 300 held-out photos; ([\d,]+) more photos are "
    r"expected to lower this by ([\d.]+) points \(95% interval: ([\d.]+) to ([\d.]+)\)\."
)


def _clouds(count: int, seed: int, distance: float = 1.5) -> tuple[Array, Array]:
    """Return features of 64 channels of two clouds, and their targets; a third of the photos is positive."""
    random = np.random.default_rng(seed)
    targets = (np.arange(count) % 3 == 0).astype(np.float32)
    direction = np.random.default_rng(0).normal(size=64)
    shift = distance * np.outer(2 * targets - 1, direction / np.linalg.norm(direction))
    return (random.normal(size=(count, 64)) + shift).astype(np.float32), targets


def test_the_points_fall_and_the_sentence_has_an_interval() -> None:
    curve = learning_curve(_clouds(300, 1), _clouds(300, 2), seed=0)
    assert curve.counts == (30, 60, 120, 210, 300)
    assert [len(each) for each in curve.errors] == [5, 5, 5, 5, 1]
    assert curve.means[0] > curve.means[2] > curve.means[-1] > 0
    found = SENTENCE.fullmatch(str(curve))
    assert found is not None, str(curve)
    more, fall, low, high = found.groups()
    assert more == "300", "as many again"
    assert float(low) <= float(fall) <= float(high)
    assert float(low) < float(high)


def test_more_photos_bring_more() -> None:
    one, ten = (learning_curve(_clouds(300, 1), _clouds(300, 2), 0, more).forecast for more in (100, 3000))
    assert one is not None
    assert ten is not None
    assert 0 < one.fall.value < ten.fall.value
    assert (one.more, ten.more) == (100, 3000)


@pytest.mark.parametrize("distance", [1.0, 1.5, 2.0])
def test_what_more_photos_bring_is_in_the_interval(distance: float) -> None:
    held_out = _clouds(1000, 2, distance)
    forecast = learning_curve(_clouds(300, 1, distance), held_out, 0, 900).forecast
    assert forecast is not None
    now, later = (learning_curve(_clouds(count, 1, distance), held_out, 0).means[-1] for count in (300, 1200))
    assert forecast.fall.low < now - later < forecast.fall.high


def test_it_depends_on_the_seed_only() -> None:
    data = _clouds(200, 1), _clouds(100, 2)
    first, again, other = (learning_curve(*data, seed=seed).as_dict() for seed in (0, 0, 1))
    assert first == again
    assert first["points"][0] != other["points"][0]
    assert first["points"][-1] == other["points"][-1], "there is only one subset of all photos"


def test_noise_has_no_forecast_of_a_fall() -> None:
    forecast = learning_curve(_clouds(200, 1, distance=0), _clouds(200, 2, distance=0), 0).forecast
    assert forecast is not None
    assert forecast.fall.low < 0.01
    assert forecast.fall.value < 0.1


def test_a_probe_that_is_always_right_has_no_forecast() -> None:
    curve = learning_curve(_clouds(200, 1, distance=20), _clouds(40, 2, distance=20), 0)
    assert curve.forecast is None
    assert str(curve) == (
        "With 200 training photos, a linear probe is right on all 40 held-out photos (95% interval of its error: 0 to "
        "8.8%), so these can't show what more photos would bring."
    )


def test_a_few_photos_have_both_classes_in_each_part() -> None:
    assert learning_curve(_clouds(9, 1), _clouds(8, 2), 0).counts == (2, 2, 3, 6, 9)
