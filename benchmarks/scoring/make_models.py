"""Create an untrained ResNet-18 in the format of each tool."""

from pathlib import Path

import click
import torch
from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
from torchvision.models import resnet18
from ultralytics import YOLO

from benchmarks.photos import CLASSES

# As `yolo11-cls-resnet18.yaml` of Ultralytics, but without weights to download.
_ULTRALYTICS = """
nc: 2
backbone:
  - [-1, 1, TorchVision, [512, resnet18, null, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


@click.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def main(photos: Path, folder: Path) -> None:
    """Write plain.pth, fastai.pkl and ultralytics.pt into FOLDER; fastai needs some PHOTOS for its export."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=len(CLASSES)).state_dict(), folder / "plain.pth")

    few = sorted(photos.iterdir())[:8]
    labels = [CLASSES[number % 2] for number in range(len(few))]
    loaders = ImageDataLoaders.from_lists(photos, few, labels, valid_pct=0.5, seed=0, item_tfms=Resize(224))
    vision_learner(loaders, resnet18, pretrained=False, path=folder).export("fastai.pkl")

    described = folder / "resnet18-cls.yaml"
    described.write_text(_ULTRALYTICS, encoding="utf-8")
    model = YOLO(described, task="classify")
    model.model.names = dict(enumerate(CLASSES))
    model.save(folder / "ultralytics.pt")


if __name__ == "__main__":
    main()
