"""Hashes that lie within a few bits of one another, found exactly and without comparing every pair."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Integers = npt.NDArray[np.signedinteger]

_BITS = 64
_BLOCK = 64  # hashes compared with the rest of their bucket at a time: 60 MB where 100,000 share one bucket
_WAITING = 1_000_000  # pairs kept before they are merged: 16 MB, where 20,000 frames of one film make 200 million


def near(hashes: npt.NDArray[np.uint64], within: int) -> Integers:
    """Label hashes, uint64 [N], with int [N]: alike where steps of at most `within` bits join them, and only there.

    Two hashes that differ in no more than `within` bits agree wholly in at least one of `within` + 1 bands (Norouzi et
    al. 2012, multi-index hashing), so only those that agree in a band are compared.
    """
    distinct, which = np.unique(hashes, return_inverse=True)
    labels: Integers = np.arange(len(distinct))
    waiting: list[Integers] = []
    for pairs in _pairs(distinct, within):
        waiting.append(pairs)
        if sum(part.shape[1] for part in waiting) > _WAITING:
            labels, waiting = merge(labels, *np.concatenate(waiting, axis=1)), []
    if waiting:
        labels = merge(labels, *np.concatenate(waiting, axis=1))
    return labels[which]


def merge(labels: Integers, ones: Integers, others: Integers) -> Integers:
    """Return labels, int [N], renamed so that those at `ones`, int [K], equal those at `others`, int [K]."""
    rows, columns = labels[ones], labels[others]
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(labels), len(labels)))
    joined: Integers = connected_components(graph, directed=False)[1]
    return joined[labels]


def _pairs(hashes: npt.NDArray[np.uint64], within: int) -> Iterator[Integers]:
    """Yield the positions of near hashes, int [2, K] at a time; a pair may come more than once."""
    edges = np.linspace(0, _BITS, within + 2).astype(np.uint64)
    for low, high in pairwise(edges):
        band = (hashes >> low) & ((np.uint64(1) << (high - low)) - np.uint64(1))
        order = np.argsort(band, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            for start in range(0, len(bucket) - 1, _BLOCK):
                part, rest = bucket[start : start + _BLOCK], bucket[start:]
                row, column = np.nonzero(np.bitwise_count(hashes[part, None] ^ hashes[None, rest]) <= within)
                later = row < column
                if later.any():
                    yield np.stack([part[row[later]], rest[column[later]]])
