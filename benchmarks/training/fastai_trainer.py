"""Fine-tune with fastai, as its vision tutorial does: the head for one epoch, then the whole network."""

from pathlib import Path

import click
from fastai.vision.all import (
    Callback,
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    resnet18,
    set_seed,
    vision_learner,
)

from benchmarks.training.events import print_epoch, print_start


class PrintEpoch(Callback):
    """Prints the accuracy of each epoch, after the recorder."""

    order = 60

    def __init__(self) -> None:
        self.epochs = 0

    def after_epoch(self) -> None:
        """Count the epochs of both cycles of `fine_tune`."""
        self.epochs += 1
        print_epoch(self.epochs, self.learn.recorder.values[-1][-1])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", required=True, type=click.IntRange(2))
@click.option("--size", required=True, type=int)
@click.option("--batch", required=True, type=int)
@click.option("--runs", type=click.Path(path_type=Path), help="Not used.")
def main(folder: Path, epochs: int, size: int, batch: int, runs: Path | None) -> None:  # noqa: ARG001
    """Train on FOLDER/train and validate on FOLDER/val."""
    set_seed(0)
    loaders = ImageDataLoaders.from_folder(
        folder, train="train", valid="val", item_tfms=Resize(size), batch_tfms=aug_transforms(), bs=batch
    )
    learner = vision_learner(loaders, resnet18, metrics=accuracy, cbs=PrintEpoch())
    print_start(len(loaders.train_ds) // batch * batch)  # it drops an incomplete last batch
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs - 1)


if __name__ == "__main__":
    main()
