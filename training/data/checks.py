"""A look at the photos before anything is fitted: damaged, doubled, contradictory, small and blank ones, balance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from service.photo import printable, utf8
from training.data.folders import Photos
from training.data.near_duplicates import merge, near
from training.data.photo_info import Look, look_at

CACHE = ".looks.sqlite"  # in the registry folder
NEAR_BITS = 6  # of 64: two photos whose perceptual hashes differ in no more show the same picture
SMALL = 64  # px: a short side below this shows a network little
BLANK = 3.0  # grey levels of 256: a photo that spreads less shows nothing


@dataclass(frozen=True)
class Findings:
    """What was found among the photos of a folder.

    Attributes:
        photos: how many there are of each class.
        unreadable: files that can't be decoded, with the reason.
        doubles: groups of the same picture under one label; the first of each is the one to keep.
        contradictions: groups of the same picture under both labels.
        leaks: groups of the same picture among photos to learn from and photos held back, one held back first.
        small, blank: photos that can hardly teach anything.
        left_out: what training does without by default, each with the reason.
        digests: SHA-256 of each file, hex.
    """

    photos: dict[str, int]
    unreadable: dict[Path, str]
    doubles: list[list[Path]]
    contradictions: list[list[Path]]
    leaks: list[list[Path]]
    small: list[Path]
    blank: list[Path]
    left_out: dict[Path, str]
    digests: dict[Path, str]

    def by_kind(self) -> dict[str, list[Path]]:
        """Return the photos that something speaks against, by what it is."""
        return {
            "can't be read": list(self.unreadable),
            "show the same picture as another of their class": [path for group in self.doubles for path in group[1:]],
            "show the same picture as one of the other class": [path for g in self.contradictions for path in g],
            "show the same picture as one held back": [path for group in self.leaks for path in group[1:]],
            "are small": self.small,
            "are blank": self.blank,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as JSON can hold them."""
        return {
            "photos": self.photos,
            "unreadable": {utf8(path): reason for path, reason in self.unreadable.items()},
            "doubles": [[utf8(path) for path in group] for group in self.doubles],
            "contradictions": [[utf8(path) for path in group] for group in self.contradictions],
            "leaks": [[utf8(path) for path in group] for group in self.leaks],
            "small": [utf8(path) for path in self.small],
            "blank": [utf8(path) for path in self.blank],
            "left_out": {utf8(path): reason for path, reason in self.left_out.items()},
        }


def check(photos: Photos, held_back: Sequence[Sequence[Path]] = (), cache: Path | None = None) -> Findings:
    """Look at every photo once, with a progress bar.

    Args:
        photos: to learn from.
        held_back: photos that must not be learnt from, those that matter most last: validation, then test.
        cache: as in `look_at`, which says what it raises.
    """
    paths = [*photos.paths, *(path for part in held_back for path in part)]
    ranks = np.repeat(range(len(held_back) + 1), [len(photos), *map(len, held_back)])
    looks = list(tqdm(look_at(paths, cache), "Looking", len(paths), unit=" photos", leave=False, disable=None))
    usable = [i for i, look in enumerate(looks) if look.reason is None]
    blank = {i for i in usable if looks[i].spread < BLANK}
    unreadable = {path: look.reason for path, look in zip(paths, looks, strict=True) if look.reason is not None}
    doubles, contradictions, leaks, left_out = [], [], [], dict(unreadable)
    for group in _groups(looks, usable, blank):
        kept = max(group, key=lambda i: ranks[i])
        sides = [[paths[i] for i in group if i < len(photos) and photos.targets[i] == target] for target in (1, 0)]
        if ranks[kept] > 0:
            leaking = [paths[i] for i in group if ranks[i] < ranks[kept]]
            leaks.extend([[paths[kept], *leaking]] if leaking else [])
            left_out |= dict.fromkeys(leaking, _same_as(paths[kept], ", which is held back"))
        elif all(sides):
            contradictions.append([paths[i] for i in group])
            for side, other in (sides, sides[::-1]):
                left_out |= dict.fromkeys(side, _same_as(other[0], ", of the other class"))
        else:
            doubles.append([paths[i] for i in group])
            left_out |= dict.fromkeys(doubles[-1][1:], _same_as(doubles[-1][0]))
    return Findings(
        photos={photos.positive: int(photos.targets.sum()), photos.negative: int((1 - photos.targets).sum())},
        unreadable=unreadable,
        doubles=doubles,
        contradictions=contradictions,
        leaks=leaks,
        small=[paths[i] for i in usable if looks[i].short_side < SMALL],
        blank=[paths[i] for i in sorted(blank)],
        left_out=left_out,
        digests={path: look.digest for path, look in zip(paths, looks, strict=True)},
    )


def _same_as(path: Path, remark: str = "") -> str:
    return f"It shows the same picture as {printable(path)}{remark}."


def _groups(looks: Sequence[Look], usable: Sequence[int], blank: set[int]) -> list[list[int]]:
    """Group photos that show the same picture: equal bytes, or near hashes where there is something to see."""
    if not usable:
        return []
    _, same_bytes = np.unique([looks[i].digest for i in usable], return_inverse=True)
    seen = np.array([place for place, i in enumerate(usable) if i not in blank], np.intp)
    alike = near(np.array([int(looks[usable[place]].phash, 16) for place in seen], np.uint64), NEAR_BITS)
    _, first = np.unique(alike, return_index=True)
    labels = merge(same_bytes, seen[first[alike]], seen)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted([usable[i] for i in part] for part in parts if len(part) > 1)
