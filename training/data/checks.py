"""Checks before training: unreadable, duplicate, contradictory, leaking, small, blank and mislabelled photos."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import loky
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from service.decoder_pool import DecodeTimeout
from service.decoders import DecoderCrash, Decoders
from service.phash import BLANK, HASH_SIDE, NEAR_BITS, contrast, perceptual_hash
from service.photo import PhotoError, printable, read_file, utf8
from training.data.cache import Cache
from training.data.photos import Photos

_Integers = npt.NDArray[np.signedinteger]

SMALL = 64  # px: photos with a shorter side below this have little detail
_NAMESPACE = "photo info 2"  # in the cache; the number changes when PhotoInfo or its computation changes
_BATCH = 256
_HASH_BITS = 64
_BLOCK = 64  # hashes compared with the rest of their bucket at a time: 60 MB if 100,000 share one bucket
_MAX_PAIRS = 1_000_000  # pairs kept before they are merged: 16 MB; 20,000 frames of one film make 200 million pairs


@dataclass(frozen=True)
class PhotoInfo:
    """Facts about one file that follow from its content alone.

    Attributes:
        digest: SHA-256 of the bytes, hex; empty if the file can't be read, or if decoding crashed or took too long.
        error: why the photo can't be used, one sentence; None if it can.
        short_side: of the photo in pixels; 0 if it can't be used.
        contrast: standard deviation of the grey levels, in [0, 127.5].
        phash: 64-bit perceptual hash, 16 hex digits; empty if the photo can't be used.
    """

    digest: str
    error: str | None = None
    short_side: int = 0
    contrast: float = 0.0
    phash: str = ""


@dataclass(frozen=True)
class Findings:
    """Result of the checks.

    Attributes:
        photos: number of photos of each class.
        unreadable: files that can't be decoded, with the reason.
        duplicates: groups of the same picture under one label; the first of each group is kept.
        contradictions: groups of the same picture under both labels.
        leaks: groups of the same picture in the training photos and in the held-out photos; a held-out one is first.
        small, blank: photos with little or no information; they are only reported.
        left_out: photos that training leaves out, with the reason.
        digests: SHA-256 of each file, hex.
    """

    photos: dict[str, int]
    unreadable: dict[Path, str]
    duplicates: list[list[Path]]
    contradictions: list[list[Path]]
    leaks: list[list[Path]]
    small: list[Path]
    blank: list[Path]
    left_out: dict[Path, str]
    digests: dict[Path, str]

    def by_kind(self) -> dict[str, list[Path]]:
        """Return the photos with a problem, by the kind of problem."""
        return {
            "can't be read": list(self.unreadable),
            "show the same picture as another of their class": [
                path for group in self.duplicates for path in group[1:]
            ],
            "show the same picture as one of the other class": [path for g in self.contradictions for path in g],
            "show the same picture as one held out": [path for group in self.leaks for path in group[1:]],
            "are small": self.small,
            "are blank": self.blank,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the findings in the format of findings.json."""
        return {
            "photos": self.photos,
            "unreadable": {utf8(path): reason for path, reason in self.unreadable.items()},
            "doubles": [[utf8(path) for path in group] for group in self.duplicates],
            "contradictions": [[utf8(path) for path in group] for group in self.contradictions],
            "leaks": [[utf8(path) for path in group] for group in self.leaks],
            "small": [utf8(path) for path in self.small],
            "blank": [utf8(path) for path in self.blank],
            "left_out": {utf8(path): reason for path, reason in self.left_out.items()},
        }


@dataclass(frozen=True)
class LabelIssue:
    """A photo, its label, and the probability of that label in [0, 1]."""

    path: Path
    label: str
    quality: float


def check_photos(photos: Photos, held_out: Sequence[Sequence[Path]], cache: Cache) -> Findings:
    """Check every photo, with a progress bar on a terminal.

    If the same picture is in several sets, the copy in the last set is kept.

    Args:
        photos: the training photos.
        held_out: sets of photos that must not be trained on: validation, then test.
        cache: for the facts about each photo.

    Raises:
        SeeFoodError: the cache can't be used.
    """
    paths = [*photos.paths, *(path for part in held_out for path in part)]
    sets = np.repeat(range(len(held_out) + 1), [len(photos), *map(len, held_out)])  # 0: training
    reading = read_photo_info(paths, cache)
    infos = list(tqdm(reading, "Checking", len(paths), unit=" photos", leave=False, disable=None))
    usable = [i for i, info in enumerate(infos) if info.error is None]
    blank = {i for i in usable if infos[i].contrast < BLANK}
    unreadable = {path: info.error for path, info in zip(paths, infos, strict=True) if info.error is not None}
    duplicates, contradictions, leaks, left_out = [], [], [], dict(unreadable)
    for group in _same_pictures(infos, usable, blank):
        kept = max(group, key=lambda i: sets[i])
        by_class = [[paths[i] for i in group if i < len(photos) and photos.targets[i] == target] for target in (1, 0)]
        if sets[kept] > 0:
            leaking = [paths[i] for i in group if sets[i] < sets[kept]]
            leaks.extend([[paths[kept], *leaking]] if leaking else [])
            left_out |= dict.fromkeys(leaking, _same_as(paths[kept], ", which is held out"))
        elif all(by_class):
            contradictions.append([paths[i] for i in group])
            for one, other in (by_class, by_class[::-1]):
                left_out |= dict.fromkeys(one, _same_as(other[0], ", of the other class"))
        else:
            duplicates.append([paths[i] for i in group])
            left_out |= dict.fromkeys(duplicates[-1][1:], _same_as(duplicates[-1][0]))
    return Findings(
        photos=dict(zip((photos.positive, photos.negative), photos.counts(), strict=True)),
        unreadable=unreadable,
        duplicates=duplicates,
        contradictions=contradictions,
        leaks=leaks,
        small=[paths[i] for i in usable if infos[i].short_side < SMALL],
        blank=[paths[i] for i in sorted(blank)],
        left_out=left_out,
        digests={path: info.digest for path, info in zip(paths, infos, strict=True)},
    )


def find_label_issues(photos: Photos, probabilities: npt.NDArray[np.float32]) -> tuple[LabelIssue, ...]:
    """Return the photos that look mislabelled, the least probable label first.

    Confident learning: Northcutt et al. 2021, arXiv:1911.00068.

    Args:
        photos: with their labels.
        probabilities: P(positive) of each photo, [N] in [0, 1], by models that were not trained on it.
    """
    from cleanlab import filter as cleanlab_filter  # slow to import, and seefood check needs none of it

    both = np.stack([1 - probabilities, probabilities], axis=1)
    targets, labels = photos.targets.astype(int), photos.labels()
    ranked = cleanlab_filter.find_label_issues(targets, both, return_indices_ranked_by="self_confidence", n_jobs=1)
    return tuple(LabelIssue(photos.paths[i], labels[i], round(float(both[i, targets[i]]), 4)) for i in ranked)


def issues_as_json(issues: Sequence[LabelIssue]) -> list[Mapping[str, object]]:
    """Return the label issues in the format of findings.json."""
    return [{"photo": utf8(each.path), "label": each.label, "quality": each.quality} for each in issues]


def read_photo_info(paths: Sequence[Path], cache: Cache) -> Iterator[PhotoInfo]:
    """Yield the facts about each file, in order; raises SeeFoodError if the cache can't be used."""
    count = loky.cpu_count()
    with closing(Decoders(count)) as decoders, ThreadPoolExecutor(count) as pool:
        remaining = iter(paths)
        while batch := list(islice(remaining, _BATCH)):
            digests = list(pool.map(file_digest, batch))
            found = {digest: PhotoInfo(**json.loads(value)) for digest, value in cache.get(_NAMESPACE, digests).items()}
            missing = [i for i, digest in enumerate(digests) if digest not in found]
            read = pool.map(partial(_read, decoders), [batch[i] for i in missing], [digests[i] for i in missing])
            new = dict(zip(missing, read, strict=True))
            values = {info.digest: json.dumps(asdict(info)).encode() for info in new.values() if info.digest}
            cache.put(_NAMESPACE, values)
            yield from (new[i] if i in new else found[digest] for i, digest in enumerate(digests))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex; empty if the file can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _read(decoders: Decoders, path: Path, digest: str) -> PhotoInfo:
    try:
        grey, _ = decoders.grey(read_file(path), HASH_SIDE)
    except (DecoderCrash, DecodeTimeout) as error:  # they can come from a busy machine, so they are not cached
        return PhotoInfo("", str(error))
    except PhotoError as error:
        return PhotoInfo(digest, str(error))
    except OSError as error:
        return PhotoInfo("", f"The file can't be read: {error.strerror}.")
    return PhotoInfo(digest, None, min(grey.shape), contrast(grey), f"{perceptual_hash(grey):016x}")


def _same_as(path: Path, remark: str = "") -> str:
    return f"It shows the same picture as {printable(path)}{remark}."


def _same_pictures(infos: Sequence[PhotoInfo], usable: Sequence[int], blank: set[int]) -> list[list[int]]:
    """Group photos that show the same picture: equal bytes, or near perceptual hashes unless they are blank."""
    if not usable:
        return []
    _, same_bytes = np.unique([infos[i].digest for i in usable], return_inverse=True)
    hashed = np.array([place for place, i in enumerate(usable) if i not in blank], np.intp)
    hashes = np.array([int(infos[usable[place]].phash, 16) for place in hashed], np.uint64)
    near = group_near(hashes, NEAR_BITS)
    _, first = np.unique(near, return_index=True)
    labels = _merge(same_bytes, hashed[first[near]], hashed)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted([usable[i] for i in part] for part in parts if len(part) > 1)


def group_near(hashes: npt.NDArray[np.uint64], distance: int) -> _Integers:
    """Group 64-bit hashes that are connected by steps of at most `distance` bits; the result is exact.

    Two hashes within the distance are equal in at least one of `distance` + 1 bands, so only hashes that share a band
    are compared (multi-index hashing, Norouzi et al. 2012).

    Args:
        hashes: uint64 [N].
        distance: Hamming distance, in bits.

    Returns:
        The group of each hash, int [N].
    """
    distinct, which = np.unique(hashes, return_inverse=True)
    groups: _Integers = np.arange(len(distinct))
    pending: list[_Integers] = []
    for pairs in _pairs(distinct, distance):
        pending.append(pairs)
        if sum(part.shape[1] for part in pending) > _MAX_PAIRS:
            groups, pending = _merge(groups, *np.concatenate(pending, axis=1)), []
    if pending:
        groups = _merge(groups, *np.concatenate(pending, axis=1))
    return groups[which]


def _merge(groups: _Integers, ones: _Integers, others: _Integers) -> _Integers:
    """Return groups, int [N], in which the groups at positions `ones`, int [K], equal those at `others`, int [K]."""
    rows, columns = groups[ones], groups[others]
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(groups), len(groups)))
    joined: _Integers = connected_components(graph, directed=False)[1]
    return joined[groups]


def _pairs(hashes: npt.NDArray[np.uint64], distance: int) -> Iterator[_Integers]:
    """Yield positions of near pairs, int [2, K] at a time; a pair may be yielded more than once."""
    edges = np.linspace(0, _HASH_BITS, distance + 2).astype(np.uint64)
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
