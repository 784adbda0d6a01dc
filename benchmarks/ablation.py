"""Is each choice of the recipe worth it? Small fits that differ in one choice, over three seeds, into docs/recipe.md.

    python -m benchmarks.ablation PHOTOS --extra HARD_NEGATIVES --weights FILE --teacher FILE.onnx

Every fit is written to a file when it is done, so that an interrupted run goes on where it was.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from PIL import Image, ImageOps
from sklearn.metrics import roc_auc_score

from service.photo import decode
from training import network
from training.check import CACHE, check
from training.dataset import training_loader, validation_loader
from training.fit import keep_memory, precision
from training.folders import Photos, gather, leave_out, split
from training.learner import Learner, balance
from training.network import Classifier
from training.probe import FEATURES, frozen_features, out_of_fold, probe_head
from training.recipe import Recipe
from training.suspects import find_suspects
from training.teacher import ANSWERS, Teacher

SEEDS = (0, 1, 2)
FIT_PHOTOS, MEASURED_PHOTOS = 500, 300
BASE = Recipe(epochs=6, batch_size=16, train_size=96, last_size=96, probe=False)

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """One row: a recipe, and what is done to the photos before it."""

    recipe: Recipe = BASE
    resize: str = "squash"
    hard_negatives: bool = True
    drop_suspects: bool = False
    teacher: bool = False


CHOICES = {
    "the recipe, small": Choice(),
    "half of the target by a teacher": Choice(teacher=True),
    "without suspected photos": Choice(drop_suspects=True),
    "head starts as a linear probe, not at zero": Choice(replace(BASE, probe=True)),
    "linear probe alone": Choice(replace(BASE, epochs=0, probe=True)),
    "half the epochs": Choice(replace(BASE, epochs=3)),
    "batches of 32, not 16": Choice(replace(BASE, batch_size=32)),
    "first stages ten times slower than the last": Choice(replace(BASE, first_share=0.01)),
    "pretrained stages as fast as fresh ones": Choice(replace(BASE, first_share=1.0, last_share=1.0)),
    "last weights, not averaged ones": Choice(replace(BASE, averaged_epochs=0)),
    "crops and mirroring, no TrivialAugmentWide": Choice(replace(BASE, augmentation="crop")),
    "no augmentation": Choice(replace(BASE, augmentation="none")),
    "no label smoothing": Choice(replace(BASE, label_smoothing=0)),
    "training squares of 128 px, not 96": Choice(replace(BASE, train_size=128, last_size=128)),
    "training squares of 96 px, 128 in the last third": Choice(replace(BASE, last_size=128)),
    "both classes weigh the same": Choice(replace(BASE, class_weights=True)),
    "without hard negatives": Choice(hard_negatives=False),
    "centre crop, not squash": Choice(resize="crop"),
    "padded, not squash": Choice(resize="pad"),
}


@dataclass(frozen=True)
class Material:
    """The photos of one resize policy, by role, with what the pretrained network and the teacher make of them."""

    fit: Photos
    measured: Photos
    hard: npt.NDArray[np.bool_]
    measured_hard: npt.NDArray[np.bool_]
    features: Array
    answers: Array


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--extra", "extras", multiple=True, type=click.Path(path_type=Path))
@click.option("--weights", required=True)
@click.option("--teacher", required=True, type=click.Path(path_type=Path))
@click.option("--scratch", default=Path("runs/ablation"), type=click.Path(path_type=Path))
@click.option("--out", default=Path("docs/recipe.md"), type=click.Path(path_type=Path))
def main(folder: Path, extras: tuple[Path, ...], weights: str, teacher: Path, scratch: Path, out: Path) -> None:
    """Measure every choice on photos held back from FOLDER and the hard negatives of --extra."""
    keep_memory()
    scratch.mkdir(parents=True, exist_ok=True)
    results = scratch / "results.jsonl"
    materials: dict[str, Material] = {}
    for seed in SEEDS:
        for name, choice in CHOICES.items():
            if (name, seed) in {(row["choice"], row["seed"]) for row in _rows(results)}:
                continue
            if choice.resize not in materials:
                materials[choice.resize] = _material(folder, extras, weights, teacher, scratch, choice.resize)
            figures = _run(choice, materials[choice.resize], weights, seed)
            with results.open("a") as file:
                file.write(json.dumps({"choice": name, "seed": seed, **figures}) + "\n")
            print(name, seed, figures, flush=True)
    write_table(out, _rows(results))


def _run(choice: Choice, material: Material, weights: str, seed: int) -> dict[str, float]:
    """Fit once and measure the photos held back."""
    L.seed_everything(seed, workers=True, verbose=False)
    classifier, absent = network.build(weights)
    keep = np.ones(len(material.fit), bool) if choice.hard_negatives else ~material.hard
    if choice.drop_suspects:
        suspects = {s.path for s in find_suspects(material.fit, out_of_fold(material.features, material.fit.targets))}
        keep &= np.array([path not in suspects for path in material.fit.paths])
    photos = material.fit.take(np.flatnonzero(keep))
    targets = photos.targets
    if choice.teacher:
        share = choice.recipe.teacher_share
        targets = ((1 - share) * targets + share * material.answers[keep]).astype(np.float32)
    started = time.perf_counter()
    if choice.recipe.probe:
        probe_head(classifier, material.features[keep], photos.targets)
    if choice.recipe.epochs:
        _fit(classifier, absent, photos, torch.from_numpy(targets), choice.recipe, seed)
    seconds = time.perf_counter() - started
    return {**_measure(classifier, material), "seconds": round(seconds, 1)}


def _fit(
    classifier: Classifier, absent: list[str], photos: Photos, targets: torch.Tensor, recipe: Recipe, seed: int
) -> None:
    """Fit as training.fit does, but keep the last epoch, so that no photo is looked at before the end."""
    loader = training_loader(photos, targets, recipe, classifier.backbone, seed)
    module = Learner(classifier.to(memory_format=torch.channels_last), absent, recipe, balance(photos, recipe))
    callbacks: list[Callback] = []
    if recipe.averaged_epochs:
        callbacks = [EMAWeightAveraging(decay=1 - 1 / (1 + recipe.averaged_epochs * len(loader)))]
    trainer = L.Trainer(
        max_epochs=recipe.epochs,
        precision=precision(),
        devices=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, loader)
    classifier.cpu().eval()


def _measure(classifier: Classifier, material: Material) -> dict[str, float]:
    classifier.eval()
    with torch.inference_mode():
        loader = validation_loader(material.measured, classifier.size)
        p = torch.cat([classifier(pixels)[0] for pixels, _ in loader]).numpy()
    truth = material.measured.targets == 1
    return {
        "roc_auc": round(float(roc_auc_score(truth, p)), 4),
        "accuracy": round(float(((p >= 0.5) == truth).mean()), 4),
        "hard_false_positives": round(float((p[material.measured_hard] >= 0.5).mean()), 4),
    }


def _material(
    folder: Path, extras: tuple[Path, ...], weights: str, teacher: Path, scratch: Path, resize: str
) -> Material:
    """Choose the photos, the same for every row, reshape them, and ask the pretrained network and the teacher."""
    data = gather(folder, extras=extras)
    findings = check(data.photos, cache=scratch / CACHE)
    photos = leave_out(data.photos, findings.left_out)
    parts = split(photos, findings.digests, 0)
    training, validation = (
        part.take(range(count)) for part, count in zip(parts, (FIT_PHOTOS, MEASURED_PHOTOS), strict=True)
    )
    hard = [np.array([not path.is_relative_to(folder) for path in part.paths]) for part in (training, validation)]
    shaped = [_reshaped(part, resize, scratch / "photos") for part in (training, validation)]
    digests = [f"{resize} {findings.digests[path]}" for path in training.paths]
    classifier, _ = network.build(weights)
    features = frozen_features(classifier, shaped[0], digests, scratch / FEATURES)
    answers = Teacher(teacher).probabilities(shaped[0], digests, scratch / ANSWERS)
    return Material(shaped[0], shaped[1], hard[0], hard[1], features, answers)


def _reshaped(photos: Photos, resize: str, folder: Path) -> Photos:
    """Return square copies of the photos, so that squashing them changes nothing any more."""
    shapes: dict[str, Callable[[Image.Image, int], Image.Image]] = {
        "crop": lambda image, _: ImageOps.fit(image, (min(image.size),) * 2),
        "pad": lambda image, _: ImageOps.pad(image, (max(image.size),) * 2, color=(124, 116, 104)),
    }
    if resize == "squash":
        return photos
    paths = []
    for number, path in enumerate(photos.paths):
        copy = folder / resize / path.parent.name / f"{path.stem}-{number}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shapes[resize](decode(path.read_bytes(), at_least=256), 0).save(copy)
        paths.append(copy)
    return replace(photos, paths=tuple(paths))


def _rows(results: Path) -> list[dict[str, float | str]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def write_table(out: Path, rows: list[dict[str, float | str]]) -> None:
    """Write the table of all rows into the document, between its two markers."""
    base = {row["seed"]: row for row in rows if row["choice"] == next(iter(CHOICES))}
    lines = [
        "| choice | seeds | ROC AUC | change | hard negatives called positive | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name in CHOICES:
        mine = [row for row in rows if row["choice"] == name and row["seed"] in base]
        if not mine:
            continue
        auc, hard, seconds = (
            [float(row[key]) for row in mine] for key in ("roc_auc", "hard_false_positives", "seconds")
        )
        changes = [float(row["roc_auc"]) - float(base[row["seed"]]["roc_auc"]) for row in mine]
        change = "" if mine[0] in base.values() else f"{_spread(changes, '+')}"
        lines.append(
            f"| {name} | {len(mine)} | {_spread(auc)} | {change} | {_spread(hard)} | {statistics.mean(seconds):.0f} |"
        )
    start, end = "<!-- ablation -->", "<!-- end -->"
    text = out.read_text(encoding="utf-8") if out.exists() else f"{start}\n{end}\n"
    head, tail = text.split(start)[0], text.split(end)[1]
    out.write_text(f"{head}{start}\n" + "\n".join(lines) + f"\n{end}{tail}", encoding="utf-8")


def _spread(values: list[float], sign: str = "") -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.3f}{deviation}"


if __name__ == "__main__":
    main()
