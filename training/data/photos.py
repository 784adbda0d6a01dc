"""Photos with labels."""

import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


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
