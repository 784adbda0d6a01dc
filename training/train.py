"""Folders to model, top to bottom: look, split, fit, calibrate, export, check, evaluate, register."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from service.metadata import Metadata
from service.model import FILES, Model
from service.photo import RESIZE_POLICY, Pixels, printable, read_photo
from training import export, folders, network, registry
from training.calibrate import Array, calibrate
from training.card import card
from training.check import CACHE, check
from training.evaluate import Evaluation, calibration_error, evaluate, measure
from training.fit import fit, recipe, seed_everything
from training.folders import Photos
from training.job import Job
from training.network import SIZE, Classifier

GATE_PHOTOS = 2000  # validation photos that calibrate and check; more would only cost memory
INT8_PHOTOS = 256  # training photos that range the activations


def train(job: Job, say: Callable[[str], None]) -> tuple[str, dict[str, Evaluation]]:
    """Train and register a version; return its name and what it makes of the test folders.

    Args:
        job: what to do.
        say: takes each line of progress.

    Raises:
        SeeFoodError: something can't be trained on, written to or shipped; no version is written then.
    """
    data = folders.gather(job.folder, job.positive, job.extras, job.tests)
    photos = data.photos
    registry.check_writable(job.models)
    seed_everything(job.seed)
    classifier, absent = network.build(job.weights)
    partial = bool(absent) and job.weights != "none"
    if partial:
        say(f"Absent from {job.weights}, so learnt from a fresh start: {', '.join(absent)}.")

    findings = check(photos, data.held_back(), job.models / CACHE)
    left_out = findings.left_out
    for path, reason in left_out.items():
        say(f"Left out: {printable(path)}: {reason}")
    photos = folders.leave_out(photos, left_out)
    if data.validation is None:
        training, validation = folders.split(photos, findings.digests, job.seed)
    else:
        validation = folders.leave_out(data.validation, left_out, folders.MIN_VALIDATION)
        training, validation = (folders.shuffled(part, findings.digests, job.seed) for part in (photos, validation))
    say(f"{len(training)} photos to fit and {len(validation)} to validate, {photos.positive} or {photos.negative}.")

    created = datetime.now(UTC)
    version = created.strftime("%Y%m%d-%H%M%S")
    best = fit(classifier, absent, training, validation, job.models / ".runs" / version, job.epochs)
    say(f"Epoch {best.epoch} of {job.epochs} ranks the validation photos best; its weights are {best.checkpoint}.")

    validation = validation.take(range(min(len(validation), GATE_PHOTOS)))
    pixels = _pixels(validation)
    logits = _logits(classifier, pixels)
    calibration = calibrate(logits, validation.targets, job.aim)
    classifier.temperature.fill_(calibration.temperature)
    metadata = Metadata(
        name=photos.positive,
        version=version,
        positive_label=photos.positive,
        negative_label=photos.negative,
        threshold=calibration.threshold,
        uncertain_low=calibration.uncertain_low,
        uncertain_high=calibration.uncertain_high,
        temperature=calibration.temperature,
        backbone=network.BACKBONE,
        resize=RESIZE_POLICY,
        photos_digest=photos.digest(),
        metrics={},
        created=created.isoformat(timespec="seconds"),
    )
    steps = {
        "photos": f"{int(photos.targets.sum())} {photos.positive} and {int((1 - photos.targets).sum())} "
        f"{photos.negative}; {len(validation)} {'more' if data.validation else 'of them'} validate, "
        f"{len(left_out)} others were left out as unreadable or showing the same picture",
        "weights": Path(job.weights).name + (f"; absent from it: {', '.join(_modules(absent))}" if partial else ""),
        "best epoch": f"{best.epoch} of {job.epochs}, by ROC AUC on the validation photos",
        **recipe(),
        "seed": job.seed,
        "calibration": f"temperature {calibration.temperature:.3f}, which takes the calibration error on the "
        f"validation photos from {calibration_error(validation.targets, expit(logits)):.3f} to "
        f"{calibration_error(validation.targets, expit(logits / calibration.temperature)):.3f}",
        "threshold": f"{calibration.threshold}, for the aim {job.aim}",
    }
    with registry.new_version(job.models, version) as draft:
        evaluations = _publish(draft, classifier, metadata, training, validation, pixels, steps, data.tests, say)
    return version, evaluations


def _publish(
    draft: Path,
    classifier: Classifier,
    metadata: Metadata,
    training: Photos,
    validation: Photos,
    pixels: Pixels,
    steps: Mapping[str, object],
    tests: tuple[Path, ...],
    say: Callable[[str], None],
) -> dict[str, Evaluation]:
    """Write both files, check them, evaluate the int8 one, and write down what was found."""
    float32, int8 = draft / FILES["float32"], draft / FILES["int8"]
    export.export_float32(classifier, float32)
    missing = max(0, export.PARITY_PHOTOS - len(validation))
    compared = np.concatenate([pixels, _pixels(training.take(range(missing)))]) if missing else pixels
    parity = export.check_float32(classifier, float32, compared)
    export.export_int8(float32, int8, _pixels(training.take(range(min(len(training), INT8_PHOTOS)))))
    exact, quantised = export.probabilities(float32, pixels), export.probabilities(int8, pixels)
    lost = export.check_int8(exact, quantised, validation.targets, metadata.threshold)
    say(f"float32 agrees with PyTorch to {parity:.0e} on {len(compared)} photos; int8 {_change(lost)}.")

    export.stamp(int8, metadata)
    evaluations = {_name(test): evaluate(Model(int8), test) for test in tests}
    at_validation = measure(validation.targets, quantised, metadata.threshold)
    measured = {"validation": {name: vars(metric) for name, metric in at_validation.items()}}
    measured |= {name: evaluation.as_dict() for name, evaluation in evaluations.items()}
    metadata = replace(metadata, metrics=measured)
    for path in (float32, int8):
        export.stamp(path, metadata)
    checks = {
        **at_validation,
        "float32 against PyTorch": f"at most {parity:.0e} apart in probability, on {len(compared)} photos",
        "int8 against float32": _change(lost),
    }
    (draft / "card.md").write_text(card(metadata, steps, checks, evaluations), encoding="utf-8")
    (draft / registry.METRICS).write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return evaluations


def _modules(tensors: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))


def _change(lost: Mapping[str, float]) -> str:
    return f"changes accuracy by {-lost['accuracy']:+.4f} and ROC AUC by {-lost['roc_auc']:+.4f}"


def _pixels(photos: Photos) -> Pixels:
    """Read photos as the service does: uint8 [N, S, S, 3]."""
    return np.stack([read_photo(path.read_bytes(), SIZE) for path in photos.paths])


def _logits(classifier: Classifier, pixels: Pixels) -> Array:
    """Return float32 [N] logits before temperature."""
    with torch.inference_mode():
        return torch.cat(
            [classifier.heatmap(part).mean((1, 2)) for part in torch.split(torch.from_numpy(pixels), 32)]
        ).numpy()


def _name(folder: Path) -> str:
    """Name a test folder by its last two parts: enough to tell test/foods from test/objects, and no home directory."""
    return "/".join(folder.resolve().parts[-2:])
