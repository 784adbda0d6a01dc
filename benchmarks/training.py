"""How quickly SeeFood learns, beside fastai, Ultralytics and a plain PyTorch loop.

    python -m benchmarks.training FOLDER --epochs 3

All start from the same ResNet-18 weights, learn from the same photos, validate on the same others, and take as
many epochs and photos a step. They take turns, each as the command that its user would start, and each with its own
default recipe. What differs:

- All validate on squares of 224 px, what SeeFood serves and the others have as their default; they train on them too.
  `seefood train` trains on 128 px and, in the last third of the epochs, on 176 px: that is part of its recipe.
- Where the file of weights lacks layers, SeeFood is given it as it is and knows which start from nothing. The others
  can't be told: they get it completed by torchvision's own initial values.
- It leaves out the photos of an epoch that fill no whole batch, as fastai does; the two others use them.
- Where the CPU multiplies bfloat16 it computes in that; the others compute in float32 on a CPU.
- Its command does more, which counts in its seconds though in no photos a second: it looks for damaged, doubled and
  mislabelled photos, computes features with the frozen network, calibrates, exports to ONNX, checks that the export and
  an int8 version of it agree with the network, and writes a report and a model card.
- Its head is one unit, that of the others two; fastai's and Ultralytics' heads have another hidden layer.
- fastai's first epoch, as it teaches, fits the head alone. Ultralytics' plots are off, which favours it.
- SeeFood tells glibc to keep freed memory, which on a CPU saves much time. All are told so here; `--as-shipped` leaves
  the others as they are.

An epoch's seconds include its validation for all. Memory is that of the whole process tree.
"""

import csv
import importlib.metadata
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.photo_folders import split_folders
from benchmarks.start_weights import write_start_weights
from benchmarks.watched import ROOT, Watched, warm_up, watch
from training.recipe import Recipe

PACKAGES = ("seefood", "torch", "torchvision", "lightning", "fastai", "ultralytics")
TRAINERS = {
    "seefood": "seefood train",
    "fastai": "fastai: vision_learner(...).fine_tune(...)",
    "ultralytics": "Ultralytics: YOLO('yolo11-cls-resnet18.yaml').train(...)",
    "pytorch": "PyTorch: the loop of torchvision's transfer learning tutorial",
}
_SCRIPTS = {"fastai": "with_fastai", "ultralytics": "with_ultralytics", "pytorch": "plain_torch"}

DATA, WEIGHTS = (ROOT.parent / "shared" / part for part in ("data/train", "weights/resnet18-distilled.pth"))
_KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_ARENA_MAX": "2",
}
_LIMIT = 1800.0  # seconds that one command may take

_BEGINS = re.compile(r"(\d+) photos to fit and \d+ to validate")
_EPOCH = re.compile(r"Epoch (\d+) of \d+: loss")


def measure(
    photos: Path | None,
    *,
    epochs: int,
    size: int,
    batch: int | None,
    rounds: int,
    scratch: Path,
    train: int = 256,
    val: int = 80,
    weights: Path | None = None,
    keep_memory: bool = True,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Let every trainer take its turn, so many rounds, and return all that was seen, as JSON can hold it.

    Args:
        photos: a folder with the subfolders hotdog and not_hotdog; None: photos are drawn.
        epochs: that each trains, at least 2.
        size: side in pixels of the squares that all but SeeFood train on; it has sizes of its own.
        batch: photos a step of all but SeeFood, which has a rule of its own; None: what that rule gives.
        rounds: turns of each.
        scratch: an empty folder for all that is written.
        train: photos to learn from, half of each class.
        val: photos to validate on, likewise.
        weights: a state_dict to start from, which may lack tensors; None: torchvision's official one, a download.
        keep_memory: whether glibc is told to keep freed memory in all of them, not in SeeFood alone.
        only: keys of TRAINERS to measure; none: all.
    """
    folder = split_folders(photos, scratch / "photos", train=train, val=val)
    start = write_start_weights(weights, scratch / "torch")
    batch = batch or Recipe().batch(train)
    env = {
        "TORCH_HOME": str(scratch / "torch"),
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        **(_KEEP_MEMORY if keep_memory else {}),
    }
    warm_up(sys.executable, ["training.train", "fastai.vision.all", "ultralytics.models.yolo.classify"])
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAINERS if not only or name in only}
    for turn in range(rounds):
        for name in found:
            own = scratch / f"{name}-{turn}"
            if name == "seefood":
                watched = watch(_seefood(folder, weights or start, epochs, own), limit=_LIMIT, env=env)
                read = _read_seefood(watched, own, Recipe().batch(train))
            else:
                watched = watch(_script(name, folder, epochs, size, batch, own), limit=_LIMIT, env=env)
                read = _read_script(watched)
            found[name].append(_summed(watched, read))
            print(name, turn, json.dumps(found[name][-1]), file=sys.stderr, flush=True)
    return {
        "settings": {
            "photos": train,
            "validation_photos": val,
            "epochs": epochs,
            "size": size,
            "batch": batch,
            "weights": weights.name if weights else "torchvision's official ones",
            "glibc_keeps_memory": "all" if keep_memory else "SeeFood alone",
        },
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "trainers": {name: {"what": TRAINERS[name], "rounds": each} for name, each in found.items()},
    }


def _seefood(folder: Path, weights: Path, epochs: int, models: Path) -> list[str]:
    """Return the command of this checkout, whichever is installed."""
    program = [sys.executable, "-c", "from service.cli import main; main()"]
    options = {"--weights": weights, "--epochs": epochs, "--models": models}
    return [*program, "train", str(folder), *(str(part) for option in options.items() for part in option)]


def _script(name: str, folder: Path, epochs: int, size: int, batch: int, runs: Path) -> list[str]:
    options = {"--epochs": epochs, "--size": size, "--batch": batch, "--runs": runs}
    program = [sys.executable, "-m", f"benchmarks.trainers.{_SCRIPTS[name]}"]
    return [*program, str(folder), *(str(part) for option in options.items() for part in option)]


def _read_seefood(watched: Watched, models: Path, batch: int) -> dict[str, Any]:
    """Return when SeeFood said what, with the accuracies of the table that it leaves by its checkpoints."""
    tables = list(models.glob(".runs/*/fit-0/metrics.csv"))
    if watched.status != 0 or not tables:
        return {}
    with tables[0].open(encoding="utf-8", newline="") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    begins = [(seconds, int(match[1])) for seconds, text in watched.lines if (match := _BEGINS.search(text))]
    ends = [seconds for seconds, text in watched.lines if _EPOCH.search(text)]
    began, photos = begins[0]
    return {
        "began": began,
        "photos": photos - photos % batch,
        "epochs": [
            {"epoch": number, "seconds": seconds, "accuracy": round(accuracy, 4)}
            for number, (seconds, accuracy) in enumerate(zip(ends, accuracies, strict=True), 1)
        ],
    }


def _read_script(watched: Watched) -> dict[str, Any]:
    """Return what a script said, with the times at which this process saw it, as for SeeFood."""
    said = [(seconds, json.loads(text)) for seconds, text in watched.lines if text.startswith('{"seconds"')]
    begins = [(seconds, line["photos"]) for seconds, line in said if "photos" in line]
    if watched.status != 0 or not begins:
        return {}
    epochs = [{**line, "seconds": seconds} for seconds, line in said if "epoch" in line]
    return {"began": begins[0][0], "photos": begins[0][1], "epochs": epochs}


def _summed(watched: Watched, read: Mapping[str, Any]) -> dict[str, Any]:
    if not read or not read["epochs"]:
        return {"error": watched.error() or "it said nothing that could be understood"}
    epochs = read["epochs"]
    training_seconds = epochs[-1]["seconds"] - read["began"]
    photos_seen = read["photos"] * len(epochs)
    return {
        "seconds": watched.seconds,
        "training_began": read["began"],
        "training_seconds": round(training_seconds, 3),
        "photos_seen": photos_seen,
        "photos_per_second": round(photos_seen / training_seconds, 2),
        "best_accuracy": max(epoch["accuracy"] for epoch in epochs),
        "epochs": epochs,
        "peak_memory_mb": watched.peak_mb,
    }


@click.command()
@click.argument("photos", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(2))
@click.option("--size", default=224, show_default=True)
@click.option("--batch", type=int, help="Photos a step; SeeFood's own rule.")
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1))
@click.option("--train", default=256, show_default=True, type=click.IntRange(64))
@click.option("--val", default=80, show_default=True, type=click.IntRange(8))
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="A state_dict, which may lack tensors.")
@click.option("--keep-memory/--as-shipped", default=True, help="Whether glibc keeps freed memory in all of them.")
@click.option("--only", multiple=True, type=click.Choice(list(TRAINERS)), help="Trainer to measure; repeatable.")
def main(photos: Path | None, weights: Path | None, **options: Any) -> None:
    """Measure on PHOTOS, a folder with hotdog and not_hotdog in it, and print JSON."""
    photos = photos or (DATA if DATA.is_dir() else None)
    weights = weights or (WEIGHTS if WEIGHTS.is_file() else None)
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(photos, weights=weights, scratch=Path(scratch), **options), indent=2))


if __name__ == "__main__":
    main()
