"""Fitted networks become a version: each exported, checked and evaluated, and the best of them written about."""

import csv
import json
import logging
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.errors import SeeFoodError
from service.model import Model
from service.photo import Pixels, read_photo, utf8
from service.registry import CURRENT, FILES, current_version, find_model
from training.data import label_issues as suspects
from training.data import label_list as labels
from training.data.folders import Photos
from training.evaluation.evaluate import Evaluation, evaluate, evaluate_photos
from training.evaluation.synthetic import draw_made_up
from training.export.onnx_export import onnx_export as export
from training.prepare import Prepared
from training.records import Fitted, Story
from training.registry.store import METRICS
from training.report.card import card
from training.report.html_report import write_report

INT8_PHOTOS = 256  # training photos that range the activations
PHOTOS = "photos.csv"
FINDINGS = "findings.json"


@dataclass(frozen=True)
class Measured:
    """A fitted network with its two ONNX files in a folder, and what they measure."""

    folder: Path
    story: Story


def measure(folder: Path, fitted: Fitted, tests: tuple[Path, ...], say: Callable[[str], None]) -> Measured:
    """Export a fitted network into a folder, pass the gates, and score the validation photos and test folders.

    Raises:
        SeeFoodError: a gate does not pass, or a test folder can't be scored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    float32, int8 = folder / FILES["float32"], folder / FILES["int8"]
    export.export_float32(fitted.classifier, float32)
    gates = _pass_gates(fitted, float32, int8, say)
    for gate, result in gates.items():
        say(f"{gate}: {result}.")
    export.stamp(int8, fitted.metadata)
    validation = evaluate_photos(Model(int8), fitted.validation)
    evaluations = {_name(test): evaluate(Model(int8), test) for test in tests}
    return Measured(folder, Story(fitted, {**validation.metrics, **gates}, validation, evaluations))


def publish(draft: Path, measured: Sequence[Measured], prepared: Prepared) -> Mapping[str, Evaluation]:
    """Fill the folder of a version with the fit that ranks the validation photos best; return its test figures.

    The folder stands in the registry, whose current version is measured on the same test folders for comparison.
    """
    best = max(measured, key=lambda each: each.story.validation.metrics["roc_auc"].value)
    metadata = best.story.fitted.metadata
    made_up = _measure_made_up(Model(best.folder / FILES["int8"]), draft)
    version, before = _measure_current(
        draft.parent, (metadata.positive_label, metadata.negative_label), prepared.data.tests
    )
    story = replace(
        best.story,
        seeds=_over_fits(measured),
        fits=len(measured),
        made_up=made_up,
        before=before,
        version_before=version,
    )
    figures = {"validation": story.validation, **story.tests, "made up": made_up}
    metrics = {name: evaluation.as_dict() for name, evaluation in figures.items()}
    if story.seeds:
        metrics["fits"] = {
            name: {"mean": mean, "deviation": deviation} for name, (mean, deviation) in story.seeds.items()
        }
    for name in FILES.values():
        export.stamp(best.folder / name, replace(metadata, metrics=metrics))
        (best.folder / name).replace(draft / name)
    (draft / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (draft / "card.md").write_text(card(story), encoding="utf-8")
    _write_photos(draft / PHOTOS, prepared)
    findings = prepared.findings.as_dict() | {
        "suspects": suspects.as_json(prepared.suspects or ()),
        "corrected": labels.as_json(prepared.changed),
    }
    (draft / FINDINGS).write_text(json.dumps(findings, indent=2) + "\n", encoding="utf-8")
    write_report(draft / "report", Model(draft / FILES["int8"]), story)
    return story.tests


def read_photos(photos: Photos, size: int) -> Pixels:
    """Read photos as the service does: uint8 [N, size, size, 3]."""
    return np.stack([read_photo(path.read_bytes(), size) for path in photos.paths])


def _measure_made_up(model: Model, scratch: Path) -> Evaluation:
    """Score pictures that no camera took, all of them negative, from files under `scratch` that are removed after."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        draw_made_up(Path(folder, model.metadata.negative_label))
        return evaluate(model, Path(folder))


def _measure_current(models: Path, labels: tuple[str, str], tests: Sequence[Path]) -> tuple[str, dict[str, Evaluation]]:
    """Return the current version's name and what its int8 file makes of the test folders; none where it can't be asked.

    It can't be asked where there is no such version, it has other labels, or its file can't be opened, which is said.
    """
    if not tests or not (models / CURRENT).exists():
        return "", {}
    try:
        version = current_version(models)
        model = Model(find_model(models, version, "int8"))
    except SeeFoodError as error:
        logging.getLogger(__name__).warning("The current version is not in the card for comparison: %s", error)
        return "", {}
    if (model.metadata.positive_label, model.metadata.negative_label) != labels:
        return "", {}
    return version, {_name(test): evaluate(model, test) for test in tests}


def _over_fits(measured: Sequence[Measured]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation over fits of each figure; none for a single fit."""
    if len(measured) == 1:
        return {}
    values: dict[str, list[float]] = {}
    for each in measured:
        for name, evaluation in {"validation": each.story.validation, **each.story.tests}.items():
            for metric, value in evaluation.metrics.items():
                values.setdefault(f"{name}: {metric}", []).append(value.value)
    return {name: (statistics.mean(found), statistics.stdev(found)) for name, found in values.items()}


def _pass_gates(fitted: Fitted, float32: Path, int8: Path, say: Callable[[str], None]) -> Mapping[str, str]:
    """Compare the float32 file with the network, and make the int8 file; return what the gates saw."""
    size = fitted.classifier.size
    pixels = read_photos(fitted.validation, size)
    compared = pixels
    if missing := max(0, export.PARITY_PHOTOS - len(pixels)):
        compared = np.concatenate([pixels, read_photos(_first(fitted.training, missing), size)])
    parity = export.check_float32(fitted.classifier, float32, compared)
    lost, share = _quantise(fitted, float32, int8, pixels, say)
    accuracy, auc = (f"{0 - lost[name]:+.4f}" for name in ("accuracy", "roc_auc"))  # 0 - 0.0 is no -0.0
    kept = f", with the last {share:.0%} of the convolutions in float32" if share else ""
    return {
        "float32 against PyTorch": f"at most {parity:.0e} apart in probability, on {len(compared)} photos",
        "int8 against float32": f"accuracy changes by {accuracy} and ROC AUC by {auc}{kept}",
    }


def _quantise(
    fitted: Fitted, float32: Path, int8: Path, pixels: Pixels, say: Callable[[str], None]
) -> tuple[dict[str, float], float]:
    """Write an int8 file that passes its gate; return what it loses, and the share of it that had to stay float32."""
    calibration = read_photos(_first(fitted.training, INT8_PHOTOS), fitted.classifier.size)
    exact = export.probabilities(float32, pixels)
    for share in export.FLOAT32_SHARES:
        export.export_int8(float32, int8, calibration, share)
        answers = export.probabilities(int8, pixels)
        try:
            return export.check_int8(exact, answers, fitted.validation.targets, fitted.metadata.threshold), share
        except export.GateError as error:
            refusal = str(error)
            say(f"{refusal} So more of it stays float32.")
    raise export.GateError(f"{refusal.removesuffix('.')}, so no version was written.")


def _write_photos(path: Path, prepared: Prepared) -> None:
    """Record which photo, by its content, was on which side; names are left out, since photos move."""
    parts = {"fit": prepared.training, "validate": prepared.validation}
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sha256", "label", "split"])
        for split, photos in parts.items():
            names = photos.negative, photos.positive
            table.writerows(
                sorted(
                    (prepared.findings.digests[photo], names[int(target)], split)
                    for photo, target in zip(photos.paths, photos.targets, strict=True)
                )
            )


def _first(photos: Photos, count: int) -> Photos:
    return photos.take(range(min(len(photos), count)))


def _name(folder: Path) -> str:
    """Name a test folder by its last two parts: enough to tell test/foods from test/objects, and no home directory."""
    return utf8(Path(*folder.resolve().parts[-2:]))
