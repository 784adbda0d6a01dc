"""Near duplicates: exact groups of 64-bit hashes within a Hamming distance, without comparing every pair."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Integers = npt.NDArray[np.signedinteger]

_BITS = 64
_BLOCK = 64  # hashes compared with the rest of their bucket at a time: 60 MB if 100,000 share one bucket
_MAX_PAIRS = 1_000_000  # pairs kept before they are merged: 16 MB; 20,000 frames of one film make 200 million pairs


def group_near(hashes: npt.NDArray[np.uint64], distance: int) -> Integers:
    """Group hashes that are connected by steps of at most `distance` bits.

    Two hashes within the distance are equal in at least one of `distance` + 1 bands, so only hashes that share a band
    are compared (multi-index hashing, Norouzi et al. 2012).

    Args:
        hashes: uint64 [N].
        distance: Hamming distance, in bits.

    Returns:
        The group of each hash, int [N].
    """
    distinct, which = np.unique(hashes, return_inverse=True)
    groups: Integers = np.arange(len(distinct))
    pending: list[Integers] = []
    for pairs in _pairs(distinct, distance):
        pending.append(pairs)
        if sum(part.shape[1] for part in pending) > _MAX_PAIRS:
            groups, pending = merge(groups, *np.concatenate(pending, axis=1)), []
    if pending:
        groups = merge(groups, *np.concatenate(pending, axis=1))
    return groups[which]


def merge(groups: Integers, ones: Integers, others: Integers) -> Integers:
    """Return groups, int [N], in which the groups at positions `ones`, int [K], equal those at `others`, int [K]."""
    rows, columns = groups[ones], groups[others]
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(groups), len(groups)))
    joined: Integers = connected_components(graph, directed=False)[1]
    return joined[groups]


def _pairs(hashes: npt.NDArray[np.uint64], distance: int) -> Iterator[Integers]:
    """Yield positions of near pairs, int [2, K] at a time; a pair may be yielded more than once."""
    edges = np.linspace(0, _BITS, distance + 2).astype(np.uint64)
    for low, high in pairwise(edges):
        band = (hashes >> low) & ((np.uint64(1) << (high - low)) - np.uint64(1))
        order = np.argsort(band, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            for start in range(0, len(bucket) - 1, _BLOCK):
                part, rest = bucket[start : start + _BLOCK], bucket[start:]
                row, column = np.nonzero(np.bitwise_count(hashes[part, None] ^ hashes[None, rest]) <= distance)
                later = row < column
                if later.any():
                    yield np.stack([part[row[later]], rest[column[later]]])
