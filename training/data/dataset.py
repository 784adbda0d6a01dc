"""Photos as tensors: augmented for training, or as the service sees them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import loky
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from service.errors import SeeFoodError
from service.photo import Pixels, decode, read_photo, square
from training.config import Augmentation, Hyperparameters
from training.data.photos import Photos

Example = tuple[Tensor, Tensor]

_DECODE_SIZE = 256  # px: enough for random crops


class UnreadablePhoto(SeeFoodError):
    """A photo can't be read any more, although the checks could read it."""

    def __init__(self, message: str) -> None:
        # A DataLoader raises an error of its workers again, with a traceback before the message.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


def read_photos(photos: Photos, size: int) -> Pixels:
    """Read photos as the service does: uint8 [N, size, size, 3]."""
    return np.stack([read_photo(path.read_bytes(), size) for path in photos.paths])


def augmentation(kind: Augmentation, size: int) -> v2.Transform:
    """Return the transform of an image to an augmented image of [size, size] pixels."""
    if kind == "none":
        return v2.Resize((size, size))
    return v2.Compose([v2.RandomResizedCrop(size, scale=(0.5, 1.0)), v2.RandomHorizontalFlip()])


def augmented_view(content: bytes, view: int, kind: Augmentation, crop_size: int, size: int) -> Tensor:
    """Return one augmented view of a photo, uint8 [size, size, 3]; it is deterministic.

    Args:
        content: bytes of the photo file.
        view: number of the view; each number gives another crop.
        kind: the augmentation.
        crop_size: side in pixels at which the photo is augmented; networks of different sizes then see the same crop.
        size: side in pixels of the result.
    """
    image = decode(content, at_least=_DECODE_SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.sha256(b"%d " % view + content).digest()[:7], "big"))
        image = augmentation(kind, crop_size)(image)
    return torch.from_numpy(np.array(image if size == crop_size else v2.functional.resize(image, [size, size])))


def smooth_labels(targets: npt.NDArray[np.float32], hyperparameters: Hyperparameters) -> npt.NDArray[np.float32]:
    """Return the targets without a teacher: 0 or 1 [N] with label smoothing, float32 [1, N] in [0, 1]."""
    smoothing = hyperparameters.label_smoothing
    return (targets * (1 - smoothing) + smoothing / 2)[None].astype(np.float32)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        sentence = f"The photo {path} can't be read: {error.strerror}; put it back, or start again without it."
        raise UnreadablePhoto(sentence) from error


class TrainingSet(Dataset[Example]):
    """Augmented photos: uint8 [size, size, 3] pixels and a float32 target in [0, 1], by (position, view, size).

    Args:
        photos: the training photos.
        targets: float32 [views, N] in [0, 1]; view number v uses row v modulo `views`.
        kind: the augmentation.
        crop_size: as in `augmented_view`; None: the size of each item.
    """

    def __init__(self, photos: Photos, targets: Tensor, kind: Augmentation, crop_size: int | None = None) -> None:
        self.photos = photos
        self.targets = targets
        self.kind = kind
        self.crop_size = crop_size

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, item: tuple[int, int, int]) -> Example:
        index, view, size = item
        content = _read(self.photos.paths[index])
        pixels = augmented_view(content, view, self.kind, self.crop_size or size, size)
        return pixels, self.targets[view % len(self.targets), index]


class ValidationSet(Dataset[Example]):
    """Photos as the service sees them: uint8 [size, size, 3] pixels, and float32 targets, 0 or 1."""

    def __init__(self, photos: Photos, size: int) -> None:
        self.photos = photos
        self.size = size

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Example:
        image = decode(_read(self.photos.paths[index]), at_least=self.size)
        return torch.from_numpy(square(image, self.size).copy()), torch.tensor(self.photos.targets[index])


@dataclass(frozen=True)
class Shard:
    """The part of each batch that one of several processes gets."""

    rank: int = 0
    world_size: int = 1


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Each photo once an epoch, as (position, view, size); the order depends on seed and epoch only.

    With several processes each one gets its shard of every batch; together they see the batches of one process.

    Args:
        count: number of photos.
        batch_size: over all processes.
        seed: random seed of the order.
        sizes: side of the squares in pixels, by epoch.
        views: number of the view, by epoch.
        epoch: the first epoch, from 0; Lightning starts to iterate before it calls `set_epoch`.
        shard: of this process.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        sizes: Sequence[int],
        views: Sequence[int],
        epoch: int = 0,
        shard: Shard = Shard(),
    ) -> None:
        self.photos = count
        self.count = count - count % batch_size
        self.seed = seed
        self.sizes = sizes
        self.views = views
        self.epoch = epoch
        self.shard = shard

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 0; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.shard.world_size

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.photos)[: self.count]
        view, size = self.views[self.epoch], self.sizes[self.epoch]
        return ((index, view, size) for index in order[self.shard.rank :: self.shard.world_size].tolist())


def training_loader(
    photos: Photos,
    targets: Tensor,
    hyperparameters: Hyperparameters,
    sizes: Sequence[int],
    seed: int,
    epoch: int = 0,
    crop_size: int | None = None,
    shard: Shard = Shard(),
) -> DataLoader[Example]:
    """Return augmented batches.

    Args:
        photos: the training photos.
        targets: float32 [views, N] in [0, 1].
        hyperparameters: of the fit.
        sizes: side of the squares in pixels, by epoch.
        seed: random seed of the order, and of the views if there are no teachers.
        epoch: the first epoch, from 0.
        crop_size: given if teachers made the targets; the epochs then use the views of the teachers in turn, and
            otherwise each epoch has new views.
        shard: of this process.
    """
    epochs = range(hyperparameters.epochs)
    views = [number % len(targets) if crop_size else seed * 100_000 + number for number in epochs]
    batch = max(hyperparameters.batch(len(photos)), shard.world_size)
    batch -= batch % shard.world_size
    return DataLoader(
        TrainingSet(photos, targets, hyperparameters.augmentation, crop_size),
        batch_size=batch // shard.world_size,
        sampler=EpochSampler(len(photos), batch, seed, sizes, views, epoch, shard),
        num_workers=loky.cpu_count(),
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )


def validation_loader(photos: Photos, size: int) -> DataLoader[Example]:
    """Return the photos as the service sees them, in order, in batches."""
    return DataLoader(
        ValidationSet(photos, size),
        batch_size=32,
        num_workers=loky.cpu_count(),
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )
