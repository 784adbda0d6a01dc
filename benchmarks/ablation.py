"""Measure the steps of the training recipe: short trainings that differ in one step, as a table in docs/recipe.md.

    python -m benchmarks.ablation ../shared/data --weights resnet18.pth --labels labels/hotdog.csv --teacher a.onnx

Each training runs for two epochs on every fourth photo, on squares of 96 px. All are measured on the same test photos,
on squares of 128 px with a threshold of 0.5. No choice depends on these figures. Run the command again to resume.
"""

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from sklearn.metrics import roc_auc_score

from benchmarks import report
from benchmarks.markdown import table
from training.config import Hyperparameters
from training.data.cache import CACHE, Cache
from training.data.checks import check_photos
from training.data.dataset import smooth_labels, training_loader, validation_loader
from training.data.label_list import Correction, apply_label_list, read_label_list
from training.data.photos import Photos, find_labelled, gather, leave_out
from training.evaluation.slices import find_slices
from training.model.classifier import Classifier, build_classifier
from training.model.devices import keep_freed_memory, precision
from training.model.distillation import Ensemble, mix_targets
from training.model.lit_classifier import LitClassifier, balance_classes

HYPERPARAMETERS = Hyperparameters(epochs=2, train_size=96, final_size=96, freeze="layer2", views=2)
MEASURED_SIZE = 128
EVERY = 4  # one of so many photos is used
OLD, NEW = ("foods", "objects"), ("people", "in_hand", "things", "pets", "rooms")  # folders of hard negatives
BURGERS = "burger"
START, END = "<!-- ablation -->", "<!-- end -->"


@dataclass(frozen=True)
class Step:
    """A row of the table: its differences from the first row, and the number of trainings with different seeds."""

    labels: bool = False
    web: bool = False
    negatives: bool = False
    weights: bool = False
    teacher: bool = False
    seeds: int = 1


STEPS = {
    "scraped photos, old negatives, weights without the last stage": Step(),
    "+ labels cleaned": Step(labels=True),
    "+ web photos": Step(labels=True, web=True),
    "+ negatives that strangers show": Step(labels=True, web=True, negatives=True),
    "+ weights of all stages": Step(labels=True, web=True, negatives=True, weights=True, seeds=2),
    "+ teachers": Step(labels=True, web=True, negatives=True, weights=True, teacher=True, seeds=2),
}


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--weights", required=True, help="Complete state_dict of a ResNet-18.")
@click.option("--labels", required=True, type=click.Path(path_type=Path))
@click.option("--teacher", "teachers", required=True, multiple=True, type=click.Path(path_type=Path))
@click.option("--scratch", default=Path("runs/ablation"), type=click.Path(path_type=Path))
@click.option("--out", default=Path("docs/recipe.md"), type=click.Path(path_type=Path))
def main(data: Path, weights: str, labels: Path, teachers: tuple[Path, ...], scratch: Path, out: Path) -> None:
    """Train and measure every step on the photos of DATA, and write the table."""
    keep_freed_memory()
    scratch.mkdir(parents=True, exist_ok=True)
    results = scratch / "results.jsonl"
    corrections = read_label_list(labels, "hotdog", "not_hotdog")
    for name, step in STEPS.items():
        for seed in range(step.seeds):
            if any((row["step"], row["seed"]) == (name, seed) for row in _rows(results)):
                continue
            started = time.monotonic()
            figures = _run(step, data, weights, corrections, teachers, scratch, seed)
            row = {"step": name, "seed": seed, **figures, "seconds": round(time.monotonic() - started)}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
    report.write({"rows": _rows(results)}, out, _table, (START, END))


def _run(
    step: Step,
    data: Path,
    weights: str,
    corrections: dict[str, Correction],
    teachers: tuple[Path, ...],
    scratch: Path,
    seed: int,
) -> dict[str, float]:
    """Train once and measure the test photos."""
    L.seed_everything(seed, workers=True, verbose=False)
    negatives = data / "hard_negatives" / "train"
    extras = [negatives / name for name in (*OLD, *(NEW if step.negatives else ()))]
    found = gather(data / "train", extras=[*extras, *([data / "train_web"] if step.web else [])])
    photos = found.photos.take(range(0, len(found.photos), EVERY))
    if step.labels:
        photos, _ = apply_label_list(photos, corrections)
    cache = Cache(scratch / CACHE)
    findings = check_photos(photos, [], cache)
    photos = leave_out(photos, findings.left_out)
    targets, crop_size = smooth_labels(photos.targets, HYPERPARAMETERS), None
    if step.teacher:
        ensemble = Ensemble(teachers)
        crop_size = ensemble.crop_size
        digests = [findings.digests[path] for path in photos.paths]
        targets = mix_targets(targets, ensemble.probabilities(photos, digests, HYPERPARAMETERS, cache), HYPERPARAMETERS)
    with tempfile.TemporaryDirectory() as folder:
        classifier, missing_keys = build_classifier(weights if step.weights else _cut(weights, Path(folder)))
    _fit(classifier, missing_keys, photos, torch.from_numpy(targets), seed, crop_size)
    return _measure(classifier, data)


def _cut(weights: str, folder: Path) -> str:
    """Write the weights without the last stage, which the old model started from."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    path = folder / "without_layer4.pth"
    torch.save({name: value for name, value in state.items() if not name.startswith(("layer4.", "fc."))}, path)
    return str(path)


def _fit(
    classifier: Classifier,
    missing_keys: list[str],
    photos: Photos,
    targets: torch.Tensor,
    seed: int,
    crop_size: int | None,
) -> None:
    """Train as training.model.fit does, but keep the last epoch, so that no validation photos are needed."""
    loader = training_loader(photos, targets, HYPERPARAMETERS, [96] * HYPERPARAMETERS.epochs, seed, crop_size=crop_size)
    weights = balance_classes(photos, HYPERPARAMETERS)
    module = LitClassifier(classifier.to(memory_format=torch.channels_last), missing_keys, HYPERPARAMETERS, weights)
    trainer = L.Trainer(
        max_epochs=HYPERPARAMETERS.epochs,
        precision=precision(),
        devices=1,
        callbacks=[EMAWeightAveraging(decay=1 - 1 / (1 + HYPERPARAMETERS.ema_epochs * len(loader)))],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, loader)
    classifier.cpu().eval()


def _measure(classifier: Classifier, data: Path) -> dict[str, float]:
    figures = {}
    for name in ("test", "stranger_test"):
        photos = find_labelled(data / name, "hotdog", "not_hotdog")
        with torch.inference_mode():
            loader = validation_loader(photos, MEASURED_SIZE)
            probabilities = torch.cat([classifier(pixels)[0] for pixels, _ in loader]).numpy()
        predicted, truth = probabilities >= 0.5, photos.targets == 1
        figures[f"{name}: ROC AUC"] = float(roc_auc_score(truth, probabilities))
        figures[f"{name}: accuracy"] = float((predicted == truth).mean())
        figures[f"{name}: called hotdog"] = float(predicted[~truth].mean())
        if burgers := find_slices(photos).get("kind", {}).get(BURGERS):
            figures[f"{name}: burgers called hotdog"] = float(predicted[burgers].mean())
    return {key: round(value, 4) for key, value in figures.items()}


def _rows(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def _table(results: dict[str, Any]) -> str:
    columns = [name for name in results["rows"][0] if name not in ("step", "seed", "seconds")]
    lines = []
    for name in STEPS:
        rows = [row for row in results["rows"] if row["step"] == name]
        lines.append([name, str(len(rows)), *(_spread([float(row[column]) for row in rows]) for column in columns)])
    return "\n".join(table(["step", "seeds", *columns], lines))


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


if __name__ == "__main__":
    main()
