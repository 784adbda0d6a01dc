"""Photos with labels: parts of them, their random order, and the split into training and validation photos."""

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError

MIN_PHOTOS_A_CLASS = 32  # so that the export can be compared on at least 64 photos
MIN_VALIDATION = 4  # of each class; fewer photos cannot rank two networks
VALIDATION_FRACTION = 0.15


@dataclass(frozen=True)
class Photos:
    """Photos with labels.

    Attributes:
        paths: the files.
        targets: float32 [N], 1 for the positive class, 0 for the negative class.
        positive, negative: names of the two classes, which are the names of their folders.
    """

    paths: tuple[Path, ...]
    targets: npt.NDArray[np.float32]
    positive: str
    negative: str

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Iterable[int]) -> "Photos":
        """Return the photos at these positions, in this order."""
        chosen = list(indices)
        return Photos(tuple(self.paths[i] for i in chosen), self.targets[chosen], self.positive, self.negative)

    def first(self, count: int) -> "Photos":
        """Return the first photos, at most `count`."""
        return self.take(range(min(len(self), count)))

    def plus(self, other: "Photos") -> "Photos":
        """Return these photos followed by other photos of the same classes."""
        targets = np.concatenate([self.targets, other.targets])
        return Photos(self.paths + other.paths, targets, self.positive, self.negative)

    def without(self, excluded: Container[Path]) -> "Photos":
        """Return the photos that are not excluded."""
        return self.take(i for i, path in enumerate(self.paths) if path not in excluded)

    def labels(self) -> list[str]:
        """Return the class name of each photo."""
        return [self.positive if target == 1 else self.negative for target in self.targets]

    def counts(self) -> tuple[int, int]:
        """Return the number of positive and of negative photos."""
        positive = int(self.targets.sum())
        return positive, len(self) - positive

    def digest(self) -> str:
        """Return the SHA-256 (hex) of content and label of all photos; names and order do not matter."""
        lines = sorted(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {int(target)}"
            for path, target in zip(self.paths, self.targets, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def require_photos(minimum: int, photos: Photos, subject: str) -> None:
    """Raise SeeFoodError if a class has fewer photos than the minimum; the sentence starts with the subject."""
    positive, negative = photos.counts()
    if min(positive, negative) < minimum:
        raise SeeFoodError(
            f"{subject} {positive} photos of {photos.positive} and {negative} of {photos.negative}; "
            f"at least {minimum} of each are needed."
        )


def leave_out(photos: Photos, excluded: Container[Path], minimum: int = MIN_PHOTOS_A_CLASS) -> Photos:
    """Return the photos that are not excluded; raises SeeFoodError if a class keeps fewer than the minimum."""
    kept = photos.without(excluded)
    first = next((path for path in photos.paths if path in excluded), None)
    count = len(photos) - len(kept)
    require_photos(minimum, kept, f"{count} photos must be left out, for example {first}, which leaves")
    return kept


def split(photos: Photos, digests: Mapping[Path, str], seed: int) -> tuple[Photos, Photos]:
    """Split photos into training and validation photos, each in random order.

    Each photo gets a number in [0, 1) that depends on its content and the seed only, so a photo stays on its side when
    photos are added or renamed. Photos below VALIDATION_FRACTION are for validation, but at least MIN_VALIDATION of
    each class.

    Args:
        photos: all photos.
        digests: SHA-256 of each photo, hex.
        seed: random seed.
    """
    photos = shuffle(photos, digests, seed)
    is_validation = np.array([_number(digests[path], seed) < VALIDATION_FRACTION for path in photos.paths])
    for target in (0, 1):
        is_validation[np.flatnonzero(photos.targets == target)[:MIN_VALIDATION]] = True  # sorted by number
    return photos.take(np.flatnonzero(~is_validation)), photos.take(np.flatnonzero(is_validation))


def shuffle(photos: Photos, digests: Mapping[Path, str], seed: int) -> Photos:
    """Return the photos in a random order that depends on their content only; any first part is a random sample."""
    return photos.take(np.argsort([_number(digests[path], seed) for path in photos.paths]))


def _number(digest: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed} {digest}".encode()).digest()[:8], "big") / 2**64
