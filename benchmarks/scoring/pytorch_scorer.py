"""Score a folder with PyTorch and torchvision: a DataLoader decodes the photos."""

import csv
import os
from pathlib import Path

import click
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

_BATCH = 32


class PhotoFiles(Dataset[Tensor]):
    """Photos resized, cropped to the centre and normalised, as torchvision's weights require."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.transform(Image.open(self.paths[index]).convert("RGB"))
        return image


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(folder: Path, model: Path, out: Path) -> None:
    """Write the probabilities of the photos of FOLDER into OUT, a CSV file."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = models.resnet18(num_classes=2)
    network.load_state_dict(torch.load(model, weights_only=True))
    network.to(device).eval()
    paths = sorted(folder.iterdir())
    batches = DataLoader(PhotoFiles(paths), _BATCH, num_workers=len(os.sched_getaffinity(0)))
    with torch.inference_mode():
        probabilities = torch.cat([network(images.to(device)).softmax(1).cpu() for images in batches])
    with out.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([path, *row] for path, row in zip(paths, probabilities.tolist(), strict=True))


if __name__ == "__main__":
    main()
