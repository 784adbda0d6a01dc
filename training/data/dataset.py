"""Photos as tensors: augmented, by content and view alone, or as the service sees them."""

import hashlib
from collections.abc import Iterator, Sequence

import loky
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from service.photo import decode, square
from training.data.folders import Photos
from training.data.photo_info import DECODE_AT_LEAST
from training.model import distributed as ranks
from training.model.backbones import backbone
from training.recipe import Augmentation, Recipe

Example = tuple[Tensor, Tensor]


def augmentation(kind: Augmentation, size: int) -> v2.Transform:
    """Return what turns an image into another that a person would still call the same, [size, size] px."""
    if kind == "none":
        return v2.Resize((size, size))
    steps: list[v2.Transform] = [v2.RandomResizedCrop(size, scale=(0.5, 1.0)), v2.RandomHorizontalFlip()]
    return v2.Compose([*steps, v2.TrivialAugmentWide()] if kind == "trivial" else steps)


def augmented(content: bytes, view: int, kind: Augmentation, drawn: int, size: int) -> Tensor:
    """Return one view of a photo, uint8 [size, size, 3]; the same for the same bytes, view, kind and drawn size.

    Args:
        content: the bytes of the photo file.
        view: its number; each is another crop.
        kind: what is done to the photo.
        drawn: side in pixels at which that is done; networks of several sizes see the same crop.
        size: side in pixels of the result.
    """
    image = decode(content, at_least=DECODE_AT_LEAST)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.sha256(b"%d " % view + content).digest()[:7], "big"))
        image = augmentation(kind, drawn)(image)
    return torch.from_numpy(np.array(image if size == drawn else v2.functional.resize(image, [size, size])))


class TrainingSet(Dataset[Example]):
    """Augmented photos: uint8 [size, size, 3] pixels and a float32 target in [0, 1], by position, view and size.

    Args:
        photos: to learn from.
        targets: what the network should say of them: float32 [views, N], where a view's number takes its row in turn.
        kind: what is done to a photo.
        drawn: side in pixels at which that is done; None: the size that is asked for.
    """

    def __init__(self, photos: Photos, targets: Tensor, kind: Augmentation, drawn: int | None = None) -> None:
        self.photos = photos
        self.targets = targets
        self.kind = kind
        self.drawn = drawn

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, item: tuple[int, int, int]) -> Example:
        index, view, size = item
        content = self.photos.paths[index].read_bytes()
        pixels = augmented(content, view, self.kind, self.drawn or size, size)
        return pixels, self.targets[view % len(self.targets), index]


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
    """Each photo once an epoch, with the view and the size of its augmentation, the same wherever an epoch runs.

    Over several processes every one gets its share of each batch, so that together they see the batches of one.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, sizes: Sequence[int], views: Sequence[int], epoch: int = 0
    ) -> None:
        self.count = count - count % batch_size
        self.of = count
        self.seed = seed
        self.sizes = sizes  # by epoch
        self.views = views  # by epoch
        self.epoch = epoch  # Lightning draws the first one before it calls set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0; Lightning does so before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // ranks.world()

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.of)[: self.count]
        view, size = self.views[self.epoch], self.sizes[self.epoch]
        return ((index, view, size) for index in order[ranks.rank() :: ranks.world()].tolist())


def training_loader(
    photos: Photos,
    targets: Tensor,
    recipe: Recipe,
    name: str,
    seed: int,
    epoch: int = 0,
    drawn: int | None = None,
) -> DataLoader[Example]:
    """Return augmented batches from an epoch on.

    Args:
        photos: to learn from.
        targets: float32 [views, N] in [0, 1], which need not be the labels. Where teachers made them, and so
            `drawn` is given, the epochs take their views in turn; else every epoch has views of its own.
        recipe: how to fit.
        name: of the backbone.
        seed: of the order, and of the views that are of an epoch alone.
        epoch: the first, counted from 0.
        drawn: as in TrainingSet.
    """
    small = recipe.train_size or backbone(name).train_size
    large = recipe.last_size or backbone(name).last_size
    sizes = [small] * (recipe.epochs - recipe.large_epochs()) + [large] * recipe.large_epochs()
    views = [number % len(targets) if drawn else seed * 100_000 + number for number in range(recipe.epochs)]
    batch = max(recipe.batch(len(photos)), ranks.world())
    batch -= batch % ranks.world()
    return DataLoader(
        TrainingSet(photos, targets, recipe.augmentation, drawn),
        batch_size=batch // ranks.world(),
        sampler=Shuffled(len(photos), batch, seed, sizes, views, epoch),
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
