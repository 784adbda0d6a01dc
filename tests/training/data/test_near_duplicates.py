"""The groups of near hashes equal those of a comparison of every pair."""

import numpy as np
import numpy.typing as npt
import pytest

from training.data import near_duplicates
from training.data.near_duplicates import group_near

BITS = 6


def _flipped(hashes: npt.NDArray[np.uint64], bits: int, chance: np.random.Generator) -> npt.NDArray[np.uint64]:
    """Return the hashes, uint64 [N], with exactly `bits` bits of each flipped."""
    places = np.argsort(chance.random((len(hashes), 64)))[:, :bits].astype(np.uint64)
    turned: npt.NDArray[np.uint64] = np.bitwise_or.reduce(np.uint64(1) << places, axis=1)
    return hashes ^ turned


def _by_every_pair(hashes: npt.NDArray[np.uint64]) -> set[frozenset[int]]:
    joined = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= BITS
    groups = [frozenset([i]) for i in range(len(hashes))]
    for i, j in np.argwhere(joined):
        together = groups[i] | groups[j]
        for member in together:
            groups[member] = together
    return set(groups)


def _groups(hashes: npt.NDArray[np.uint64]) -> set[frozenset[int]]:
    labels = group_near(hashes, BITS)
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}


@pytest.mark.parametrize("max_pairs", [10, 1_000_000])
def test_the_groups_are_those_of_every_pair(max_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", 3)
    monkeypatch.setattr(near_duplicates, "_MAX_PAIRS", max_pairs)
    chance = np.random.default_rng(0)
    some = chance.integers(0, 2**64, 60, dtype=np.uint64)
    crowd = _flipped(np.repeat(some[:1], 40), 4, chance)  # a chain: some pairs are not near
    hashes = np.concatenate([some, crowd, *(_flipped(some[20:], bits, chance) for bits in (0, 5, BITS, BITS + 1))])
    expected = _by_every_pair(hashes)
    assert 20 < len(expected) < 110, "some hashes are grouped, and some are not"
    assert _groups(hashes) == expected


@pytest.mark.parametrize(("bits", "numbers"), [(BITS, 200), (BITS + 1, 400)])
def test_the_limit_is_exact(bits: int, numbers: int) -> None:
    chance = np.random.default_rng(1)
    some = chance.integers(0, 2**64, 200, dtype=np.uint64)
    labels = group_near(np.concatenate([some, _flipped(some, bits, chance)]), BITS)
    assert len(set(labels.tolist())) == numbers


@pytest.mark.parametrize("count", [0, 1])
def test_few_hashes_have_few_numbers(count: int) -> None:
    assert group_near(np.zeros(count, np.uint64), BITS).tolist() == [0] * count
