"""Measure the included models: accuracy, inference time and file size.

    python -m benchmarks.shipped

All figures are measured with the code of the service, and written to shipped.json. The tables in docs/models.md and
models/README.md, and the figures in README.md, are generated from it.
"""

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import report, shipped_tables, summary
from benchmarks.machine import ROOT, here
from benchmarks.photos import SIZES, photo
from service.errors import SeeFoodError
from service.model import Model
from service.photo import read_photo
from service.registry import FILES, POINTERS, find_model
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.metrics import Array, compute_metrics

RESULTS = ROOT / "benchmarks" / "shipped.json"
DATA = ROOT.parent / "shared" / "data"
FOLDERS = {  # by name in metrics.json and on the model card
    "data/test": "test",
    "data/stranger_test": "stranger_test",
    "test/foods": "hard_negatives/test/foods",
    "test/objects": "hard_negatives/test/objects",
}
STRANGERS = "data/stranger_test"
# Beginnings of the file names of its photos without a hotdog.
KINDS = tuple(kind for kinds in shipped_tables.GROUPS.values() for kind in kinds)
_FIGURES = ("photos", "accuracy", "roc_auc", "recall", "false_positive_rate", "calibration_error")
_RUNS = 50


def measure_shipped(models: Path, data: Path, before: Path | None = None) -> dict[str, Any]:
    """Measure both files of each pointer of a registry, and the int8 file of an older version.

    Args:
        models: the registry; missing pointers are omitted.
        data: the folder that contains FOLDERS.
        before: an ONNX file.

    Returns:
        By name (a pointer, or `before`) the version, the backbone and, by precision, the bytes, the milliseconds and
        the metrics of each file, ready for JSON.

    Raises:
        SeeFoodError: a file or folder can't be used.
    """
    opened = {
        name: {precision: Model(find_model(models, name, precision)) for precision in FILES}
        for name in POINTERS
        if (models / name).is_file()
    }
    if before:
        opened[shipped_tables.BEFORE] = {"int8": Model(before)}
    every = [model for files in opened.values() for model in files.values()]
    took = dict(zip(every, milliseconds(every), strict=True))
    found: dict[str, Any] = {"runs": _RUNS, "models": {}}
    for name, files in opened.items():
        metadata = files["int8"].metadata
        found["models"][name] = {"version": metadata.version, "backbone": metadata.backbone, "files": {}}
        for precision, model in files.items():
            about = {"bytes": model.path.stat().st_size, "ms": round(took[model], 2)}
            found["models"][name]["files"][precision] = {**about, **_figures(model, data)}
            print(name, precision, json.dumps(about), flush=True)
    return found


def milliseconds(models: Sequence[Model]) -> list[float]:
    """Return the median time of an inference on one photo for each model; the models take turns."""
    drawn = photo(SIZES["0.3 MP"])
    pixels = [read_photo(drawn, model.size)[np.newaxis] for model in models]
    took: list[list[float]] = [[] for _ in models]
    for model in models:
        model.warm_up()
    for _ in range(_RUNS):
        for i, model in enumerate(models):
            start = time.perf_counter()
            model.run(pixels[i])
            took[i].append(time.perf_counter() - start)
    return [1000 * statistics.median(each) for each in took]


def _figures(model: Model, data: Path) -> dict[str, Any]:
    """Return the metrics of a file for each folder, and its false positive rate for each kind of photo."""
    evaluations = {name: evaluate(model, data / folder) for name, folder in FOLDERS.items()}
    folders = {}
    for name, evaluation in evaluations.items():
        figures = evaluation.as_dict()
        folders[name] = {figure: figures[figure] for figure in _FIGURES if figure in figures}
    threshold = model.metadata.threshold
    strangers = _of_strangers(evaluations[STRANGERS])
    groups = dict.fromkeys([*((kind,) for kind in KINDS), *shipped_tables.GROUPS.values()])
    called = {"+".join(group): _called((strangers[kind] for kind in group), threshold) for group in groups}
    called["all"] = _called((found.probabilities[found.targets == 0] for found in evaluations.values()), threshold)
    return {"folders": folders, "called_hotdog": called}


def _of_strangers(found: Evaluation) -> dict[str, Array]:
    """Return P(hotdog) of the photos of each kind, [n]; raises SeeFoodError if a kind has no photo."""
    negative = [i for i, target in enumerate(found.targets) if target == 0]
    kinds = np.array([found.paths[i].name.partition("-")[0] for i in negative])
    probabilities = found.probabilities[negative]
    if absent := next((kind for kind in KINDS if kind not in kinds), None):
        raise SeeFoodError(f"{FOLDERS[STRANGERS]} has no photo without a hotdog whose name begins with {absent}-.")
    return {kind: probabilities[kinds == kind] for kind in KINDS}


def _called(parts: Iterable[Array], threshold: float) -> dict[str, Any]:
    probabilities = np.concatenate(list(parts))
    metrics = compute_metrics(np.zeros(len(probabilities)), probabilities, threshold)
    return {"photos": len(probabilities), **asdict(metrics["false_positive_rate"])}


@click.command()
@click.option("--data", default=DATA, type=click.Path(path_type=Path), help="Folder of the photos.")
@click.option("--before", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Older int8 ONNX file.")
@click.option("--tables", is_flag=True, help="Write the tables of shipped.json, and measure nothing.")
def main(data: Path, before: Path | None, tables: bool) -> None:
    """Measure the included models, and write shipped.json and the tables in the documentation."""
    if not tables:
        machine = here()
        try:
            found = {"machine": machine, **measure_shipped(ROOT / "models", data, before)}
        except SeeFoodError as error:
            raise click.ClickException(str(error)) from error
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    elif not RESULTS.exists():
        raise click.ClickException(f"{RESULTS} does not exist; run the command without --tables first.")
    results = json.loads(RESULTS.read_text())
    report.write(results, ROOT / "docs" / "models.md", shipped_tables.figures, shipped_tables.MARKS)
    report.write(results, ROOT / "models" / "README.md", shipped_tables.files, shipped_tables.MARKS)
    summary.write(ROOT)


if __name__ == "__main__":
    main()
