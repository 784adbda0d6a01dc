"""Compare the training speed of SeeFood, fastai, Ultralytics and a plain PyTorch loop.

All tools start from the same ResNet-18 weights, and train on the same photos with the same number of epochs and batch
size. Each runs the command that its user would start, with its own default recipe. The differences:

- All validate on squares of 224 px. The others train on them too; `seefood train` trains on 128 px and then on 176 px.
- If the file of weights lacks layers, SeeFood knows which ones start untrained. The others get the file with
  torchvision's initial values for these layers.
- SeeFood and fastai drop an incomplete last batch of an epoch.
- SeeFood computes in bfloat16 if the CPU multiplies it; the others compute in float32 on a CPU.
- The command of SeeFood does more, which counts in its seconds but not in its photos per second: it checks the photos,
  extracts features, calibrates, exports to ONNX and int8, compares the exports, and writes a report and a model card.
- The head of SeeFood has one unit, the others have two; fastai and Ultralytics add a hidden layer.
- The first epoch of fastai trains the head alone, as its tutorial shows. The plots of Ultralytics are off.
- All run with the glibc setting of SeeFood, to keep freed memory; it saves time on a CPU.

The seconds of an epoch include its validation. Memory is that of all processes.
"""

import csv
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.photos import split_folders
from benchmarks.processes import ROOT, Watched, watch
from benchmarks.training.start_weights import write_start_weights

_TRAINERS = {
    "seefood": "seefood train",
    "fastai": "fastai: vision_learner(...).fine_tune(...)",
    "ultralytics": "Ultralytics: YOLO('yolo11-cls-resnet18.yaml').train(...)",
    "pytorch": "PyTorch: the loop of torchvision's transfer learning tutorial",
}
_DATA, _WEIGHTS = (ROOT.parent / "shared" / part for part in ("data/train", "weights/resnet18-distilled.pth"))
_PHOTOS, _VALIDATION, _EPOCHS, _SIZE = 256, 80, 3, 224
_BATCH = 8  # the choice of seefood train for this number of photos
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_ARENA_MAX": "2"}

_BEGIN = re.compile(r"(\d+) photos to fit and \d+ to validate")
_EPOCH = re.compile(r"Epoch (\d+) of \d+: loss")


def measure() -> dict[str, Any]:
    """Train once with each tool; without `../shared`, photos are drawn and weights are downloaded."""
    weights = _WEIGHTS if _WEIGHTS.is_file() else None
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = split_folders(_DATA if _DATA.is_dir() else None, scratch / "photos", train=_PHOTOS, val=_VALIDATION)
        start = write_start_weights(weights, scratch / "torch")
        settings = {
            "TORCH_HOME": str(scratch / "torch"),
            "YOLO_CONFIG_DIR": name,
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
            **_KEEP_MEMORY,
        }
        for module in ("training.train", "fastai.vision.all", "ultralytics.models.yolo.classify"):
            watch([sys.executable, "-c", f"import {module}"])  # reads the modules from the disk
        rounds = {}
        for tool in _TRAINERS:
            own = scratch / tool
            if tool == "seefood":
                watched = watch(_seefood(folder, weights or start, own), settings=settings)
                rounds[tool] = _summary(watched, _read_seefood(watched, own))
            else:
                watched = watch(_script(tool, folder, own), settings=settings)
                rounds[tool] = _summary(watched, _read_script(watched))
            print(tool, json.dumps(rounds[tool]), file=sys.stderr, flush=True)
    return {
        "settings": {
            "photos": _PHOTOS,
            "validation_photos": _VALIDATION,
            "epochs": _EPOCHS,
            "size": _SIZE,
            "batch": _BATCH,
            "weights": weights.name if weights else "torchvision's official weights",
        },
        "trainers": {tool: {"what": _TRAINERS[tool], "rounds": [found]} for tool, found in rounds.items()},
    }


def _seefood(folder: Path, weights: Path, models: Path) -> list[str]:
    program = [sys.executable, "-m", "service.cli", "train", str(folder)]
    return [*program, "--weights", str(weights), "--epochs", str(_EPOCHS), "--models", str(models)]


def _script(tool: str, folder: Path, runs: Path) -> list[str]:
    program = [sys.executable, "-m", f"benchmarks.training.{tool}_trainer", str(folder), "--runs", str(runs)]
    return [*program, "--epochs", str(_EPOCHS), "--size", str(_SIZE), "--batch", str(_BATCH)]


def _read_seefood(watched: Watched, models: Path) -> dict[str, Any]:
    """Return the times of the log lines, and the accuracies of the table beside the checkpoints."""
    tables = list(models.glob(".runs/*/fit-0/metrics.csv"))
    if watched.status != 0 or not tables:
        return {}
    with tables[0].open(encoding="utf-8", newline="") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    begins = [(seconds, int(match[1])) for seconds, text in watched.lines if (match := _BEGIN.search(text))]
    ends = [seconds for seconds, text in watched.lines if _EPOCH.search(text)]
    began, photos = begins[0]
    return {
        "began": began,
        "photos": photos - photos % _BATCH,
        "epochs": [
            {"epoch": number, "seconds": seconds, "accuracy": round(accuracy, 4)}
            for number, (seconds, accuracy) in enumerate(zip(ends, accuracies, strict=True), 1)
        ],
    }


def _read_script(watched: Watched) -> dict[str, Any]:
    """Return the events of a script, with the times at which this process received them, as for SeeFood."""
    events = [
        (seconds, json.loads(text)) for seconds, text in watched.lines if text.startswith(('{"photos"', '{"epoch"'))
    ]
    begins = [(seconds, event["photos"]) for seconds, event in events if "photos" in event]
    if watched.status != 0 or not begins:
        return {}
    epochs = [{**event, "seconds": seconds} for seconds, event in events if "epoch" in event]
    return {"began": begins[0][0], "photos": begins[0][1], "epochs": epochs}


def _summary(watched: Watched, read: dict[str, Any]) -> dict[str, Any]:
    if not read or not read["epochs"]:
        return {"error": watched.error() or "its output has no epochs"}
    epochs = read["epochs"]
    training_seconds = epochs[-1]["seconds"] - read["began"]
    photos_seen = read["photos"] * len(epochs)
    return {
        "seconds": watched.seconds,
        "training_began": read["began"],
        "photos_per_second": round(photos_seen / training_seconds, 2),
        "best_accuracy": max(epoch["accuracy"] for epoch in epochs),
        "epochs": epochs,
        "peak_memory_mb": watched.peak_mb,
    }
