"""Folders to model, top to bottom: look, split, fit, calibrate, export, check, evaluate, register."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from scipy.special import expit

from service.metadata import Metadata
from service.photo import RESIZE_POLICY, Pixels, printable
from training import folders, network, registry
from training.calibrate import Array, calibrate
from training.check import CACHE, check
from training.evaluate import Evaluation, calibration_error
from training.fit import fit, recipe, seed_everything
from training.job import Job
from training.network import Classifier
from training.publish import publish, read_photos
from training.story import Fitted

GATE_PHOTOS = 2000  # validation photos that calibrate and check; more would only cost memory


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
    logits = _logits(classifier, read_photos(validation))
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
    fitted = Fitted(
        classifier, metadata, training, validation, findings, steps, best.checkpoint.with_name("metrics.csv")
    )
    with registry.new_version(job.models, version) as draft:
        return version, publish(draft, fitted, data.tests, say)


def _modules(tensors: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))


def _logits(classifier: Classifier, pixels: Pixels) -> Array:
    """Return float32 [N] logits before temperature."""
    with torch.inference_mode():
        return torch.cat(
            [classifier.heatmap(part).mean((1, 2)) for part in torch.split(torch.from_numpy(pixels), 32)]
        ).numpy()
