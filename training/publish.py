"""A fitted network becomes the files of a version: exported, checked, evaluated, written about."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from service.model import FILES, Model
from service.photo import Pixels, read_photo
from training import export
from training.card import card
from training.evaluate import Evaluation, evaluate, evaluate_photos
from training.folders import Photos
from training.network import SIZE
from training.registry import METRICS
from training.report import write_report
from training.story import Fitted, Story

INT8_PHOTOS = 256  # training photos that range the activations


def publish(draft: Path, fitted: Fitted, tests: tuple[Path, ...], say: Callable[[str], None]) -> dict[str, Evaluation]:
    """Fill the folder of a version, and return what its int8 file makes of the test folders, by their names.

    Raises:
        SeeFoodError: a gate does not pass, or a test folder can't be scored.
    """
    float32, int8 = draft / FILES["float32"], draft / FILES["int8"]
    export.export_float32(fitted.classifier, float32)
    export.export_int8(float32, int8, read_photos(_first(fitted.training, INT8_PHOTOS)))
    gates = _pass_gates(fitted, float32, int8)
    for gate, result in gates.items():
        say(f"{gate}: {result}.")

    export.stamp(int8, fitted.metadata)
    validation = evaluate_photos(Model(int8), fitted.validation)
    evaluations = {_name(folder): evaluate(Model(int8), folder) for folder in tests}
    measured = {name: evaluation.as_dict() for name, evaluation in {"validation": validation, **evaluations}.items()}
    metadata = replace(fitted.metadata, metrics=measured)
    for path in (float32, int8):
        export.stamp(path, metadata)

    story = Story(fitted, {**validation.metrics, **gates}, validation, evaluations)
    (draft / METRICS).write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    (draft / "card.md").write_text(card(story), encoding="utf-8")
    write_report(draft / "report", Model(int8), story)
    return evaluations


def read_photos(photos: Photos) -> Pixels:
    """Read photos as the service does: uint8 [N, S, S, 3]."""
    return np.stack([read_photo(path.read_bytes(), SIZE) for path in photos.paths])


def _pass_gates(fitted: Fitted, float32: Path, int8: Path) -> Mapping[str, str]:
    pixels = read_photos(fitted.validation)
    compared = pixels
    if missing := max(0, export.PARITY_PHOTOS - len(pixels)):
        compared = np.concatenate([pixels, read_photos(_first(fitted.training, missing))])
    parity = export.check_float32(fitted.classifier, float32, compared)
    answers = export.probabilities(float32, pixels), export.probabilities(int8, pixels)
    lost = export.check_int8(*answers, fitted.validation.targets, fitted.metadata.threshold)
    return {
        "float32 against PyTorch": f"at most {parity:.0e} apart in probability, on {len(compared)} photos",
        "int8 against float32": f"accuracy changes by {-lost['accuracy']:+.4f} and ROC AUC by {-lost['roc_auc']:+.4f}",
    }


def _first(photos: Photos, count: int) -> Photos:
    return photos.take(range(min(len(photos), count)))


def _name(folder: Path) -> str:
    """Name a test folder by its last two parts: enough to tell test/foods from test/objects, and no home directory."""
    return "/".join(folder.resolve().parts[-2:])
