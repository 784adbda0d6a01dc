"""Fine-tune with Ultralytics, with the ResNet-18 it ships a configuration of and its default recipe."""

from pathlib import Path

import click
from ultralytics import YOLO
from ultralytics.models.yolo.classify import ClassificationTrainer

from benchmarks.trainers.tell import tell_epoch, tell_start


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", required=True, type=int)
@click.option("--size", required=True, type=int)
@click.option("--batch", required=True, type=int)
@click.option("--runs", required=True, type=click.Path(path_type=Path))
def main(folder: Path, epochs: int, size: int, batch: int, runs: Path) -> None:
    """Train on FOLDER/train and validate on FOLDER/val, with all it writes below RUNS.

    Plots are off, which it would fetch a font for.
    """
    model = YOLO("yolo11-cls-resnet18.yaml", task="classify")

    def after_epoch(trainer: ClassificationTrainer) -> None:
        if trainer.epoch < epochs:  # it calls once more for the best weights, as if after an epoch
            tell_epoch(trainer.epoch + 1, trainer.metrics["metrics/accuracy_top1"])

    model.add_callback("on_train_start", lambda trainer: tell_start(len(trainer.train_loader.dataset)))
    model.add_callback("on_fit_epoch_end", after_epoch)
    model.train(data=str(folder), epochs=epochs, imgsz=size, batch=batch, project=str(runs), plots=False)


if __name__ == "__main__":
    main()
