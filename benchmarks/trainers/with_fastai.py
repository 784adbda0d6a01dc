"""Fine-tune with fastai, as its vision tutorial does: one epoch of the head alone, the others of the whole network."""

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

from benchmarks.trainers.tell import tell_epoch, tell_start


class Told(Callback):
    """Says the accuracy of each epoch, once the recorder has it."""

    order = 60

    def __init__(self) -> None:
        self.epochs = 0

    def after_epoch(self) -> None:
        """Count over both of the cycles that `fine_tune` makes."""
        self.epochs += 1
        tell_epoch(self.epochs, self.learn.recorder.values[-1][-1])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", required=True, type=click.IntRange(2))
@click.option("--size", required=True, type=int)
@click.option("--batch", required=True, type=int)
@click.option("--runs", type=click.Path(path_type=Path), help="Folder for what it writes, which is nothing.")
def main(folder: Path, epochs: int, size: int, batch: int, runs: Path | None) -> None:  # noqa: ARG001
    """Train on FOLDER/train and validate on FOLDER/val."""
    set_seed(0)
    loaders = ImageDataLoaders.from_folder(
        folder, train="train", valid="val", item_tfms=Resize(size), batch_tfms=aug_transforms(), bs=batch
    )
    learner = vision_learner(loaders, resnet18, metrics=accuracy, cbs=Told())
    tell_start(len(loaders.train_ds) // batch * batch)  # it drops the last batch where that is not full
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs - 1)


if __name__ == "__main__":
    main()
