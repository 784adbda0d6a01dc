"""Fine-tune with PyTorch and torchvision alone, as their transfer learning tutorial does."""

import os
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from benchmarks.training.events import print_epoch, print_start

_IMAGENET = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", required=True, type=int)
@click.option("--size", required=True, type=int)
@click.option("--batch", required=True, type=int)
@click.option("--runs", type=click.Path(path_type=Path), help="Not used.")
def main(folder: Path, epochs: int, size: int, batch: int, runs: Path | None) -> None:  # noqa: ARG001
    """Train on FOLDER/train and validate on FOLDER/val."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    augmented = transforms.Compose(
        [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor(), _IMAGENET]
    )
    centred = transforms.Compose(
        [transforms.Resize(size * 256 // 224), transforms.CenterCrop(size), transforms.ToTensor(), _IMAGENET]
    )
    training = datasets.ImageFolder(folder / "train", augmented)
    validation = datasets.ImageFolder(folder / "val", centred)
    workers = len(os.sched_getaffinity(0))
    batches = DataLoader(training, batch, shuffle=True, num_workers=workers)
    held_back = DataLoader(validation, batch, num_workers=workers)

    network = models.resnet18(weights=models.ResNet18_Weights.IMAGENET1K_V1)
    network.fc = nn.Linear(network.fc.in_features, len(training.classes))
    network.to(device)
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)

    print_start(len(training))
    for epoch in range(epochs):
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            loss(network(images.to(device)), labels.to(device)).backward()
            optimizer.step()
        schedule.step()
        print_epoch(epoch + 1, _accuracy(network, held_back, device))


def _accuracy(network: nn.Module, batches: DataLoader[Any], device: torch.device) -> float:
    network.eval()
    right = 0
    with torch.no_grad():
        for images, labels in batches:
            right += int((network(images.to(device)).argmax(1).cpu() == labels).sum())
    return right / len(batches.dataset)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
