"""Photos as tensors: augmented, by seed and epoch alone, or as the service sees them."""

from collections.abc import Iterator, Sequence
from itertools import repeat

import loky
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from service.photo import decode, square
from training import ranks
from training.backbones import BACKBONES
from training.folders import Photos
from training.looks import DECODE_AT_LEAST
from training.recipe import Augmentation, Recipe

Example = tuple[Tensor, Tensor]


def augmentation(kind: Augmentation, size: int) -> v2.Transform:
    """Return what turns an image into another that a person would still call the same, [size, size] px."""
    if kind == "none":
        return v2.Resize((size, size))
    steps: list[v2.Transform] = [v2.RandomResizedCrop(size, scale=(0.25, 1.0)), v2.RandomHorizontalFlip()]
    return v2.Compose([*steps, v2.TrivialAugmentWide()] if kind == "trivial" else steps)


class TrainingSet(Dataset[Example]):
    """Augmented photos: uint8 [size, size, 3] pixels and a float32 target in [0, 1], by position, seed and size."""

    def __init__(self, photos: Photos, targets: Tensor, kind: Augmentation) -> None:
        self.photos = photos
        self.targets = targets
        self.kind = kind

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, item: tuple[int, int, int]) -> Example:
        index, seed, size = item
        image = decode(self.photos.paths[index].read_bytes(), at_least=DECODE_AT_LEAST)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            image = augmentation(self.kind, size)(image)
        return torch.from_numpy(np.array(image)), self.targets[index]


class ValidationSet(Dataset[Example]):
    """Photos as the service sees them: uint8 [size, size, 3] pixels, and float32 targets, 0 or 1."""

    def __init__(self, photos: Photos, size: int) -> None:
        self.photos = photos
        self.size = size

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Example:
        image = decode(self.photos.paths[index].read_bytes(), at_least=self.size)
        return torch.from_numpy(square(image, self.size).copy()), torch.tensor(self.photos.targets[index])


class Shuffled(Sampler[tuple[int, int, int]]):
    """Each photo once an epoch, with the seed and the size of its augmentation, the same wherever an epoch runs.

    Over several processes every one gets its share of each batch, so that together they see the batches of one.
    """

    def __init__(self, count: int, batch_size: int, seed: int, sizes: Sequence[int], epoch: int = 0) -> None:
        self.count = count - count % batch_size
        self.of = count
        self.seed = seed
        self.sizes = sizes  # by epoch
        self.epoch = epoch  # Lightning draws the first one before it calls set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; Lightning does so before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // ranks.world()

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.of)[: self.count]
        seeds = random.integers(2**62, size=self.count)
        mine = slice(ranks.rank(), None, ranks.world())
        return zip(order[mine].tolist(), seeds[mine].tolist(), repeat(self.sizes[self.epoch]))


def training_loader(
    photos: Photos, targets: Tensor, recipe: Recipe, backbone: str, seed: int, epoch: int = 0
) -> DataLoader[Example]:
    """Return augmented batches from an epoch on; targets are float32 [N] in [0, 1], which need not be the labels."""
    small = recipe.train_size or BACKBONES[backbone].train_size
    large = recipe.last_size or BACKBONES[backbone].last_size
    sizes = [small] * (recipe.epochs - recipe.large_epochs()) + [large] * recipe.large_epochs()
    batch = max(recipe.batch(len(photos)), ranks.world())
    batch -= batch % ranks.world()
    return DataLoader(
        TrainingSet(photos, targets, recipe.augmentation),
        batch_size=batch // ranks.world(),
        sampler=Shuffled(len(photos), batch, seed, sizes, epoch),
        num_workers=loky.cpu_count(),
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )


def validation_loader(photos: Photos, size: int) -> DataLoader[Example]:
    """Return photos in batches, in order, as the service sees them."""
    return DataLoader(
        ValidationSet(photos, size),
        batch_size=32,
        num_workers=loky.cpu_count(),
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )
