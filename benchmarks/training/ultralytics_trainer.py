"""Fine-tune with Ultralytics: its own configuration of ResNet-18 and its default recipe."""

from pathlib import Path

import click
from ultralytics import YOLO
from ultralytics.models.yolo.classify import ClassificationTrainer

from benchmarks.training.events import print_epoch, print_start


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", required=True, type=int)
@click.option("--size", required=True, type=int)
@click.option("--batch", required=True, type=int)
@click.option("--runs", required=True, type=click.Path(path_type=Path))
def main(folder: Path, epochs: int, size: int, batch: int, runs: Path) -> None:
    """Train on FOLDER/train and validate on FOLDER/val; outputs go to RUNS. Plots would require a font download."""
    model = YOLO("yolo11-cls-resnet18.yaml", task="classify")

    def after_epoch(trainer: ClassificationTrainer) -> None:
        if trainer.epoch < epochs:  # it is called once more for the best weights
            print_epoch(trainer.epoch + 1, trainer.metrics["metrics/accuracy_top1"])

    model.add_callback("on_train_start", lambda trainer: print_start(len(trainer.train_loader.dataset)))
    model.add_callback("on_fit_epoch_end", after_epoch)
    model.train(data=str(folder), epochs=epochs, imgsz=size, batch=batch, project=str(runs), plots=False)


if __name__ == "__main__":
    main()
