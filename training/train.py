"""Folders to model, top to bottom: look, split, fit, calibrate, export, check, evaluate, register."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import lightning as L
import torch
from scipy.special import expit

from service.errors import SeeFoodError
from service.metadata import Metadata
from service.photo import RESIZE_POLICY
from training.config import Job
from training.data import folders
from training.data.dataset import validation_loader
from training.data.folders import Photos
from training.evaluation.evaluate import Evaluation, calibration_error
from training.model import classifier as network
from training.model import distributed as ranks
from training.model.calibration import Array, calibrate, weigh
from training.model.classifier import Classifier
from training.model.familiarity import fit_gaussian, level
from training.model.fit import Best, Interrupted, fit, keep_memory
from training.model.linear_probe import probe_head
from training.prepare import Prepared, prepare
from training.records import Fitted
from training.registry.store import store as registry
from training.report.run_summary import starts_as_probe, steps
from training.report.version_files import Measured, measure, publish

GATE_PHOTOS = 2000  # validation photos that calibrate and check; more would only cost memory
RUNS = ".runs"  # in the registry folder: the checkpoints


def train(job: Job, say: Callable[[str], None]) -> tuple[str, Mapping[str, Evaluation]]:
    """Train and register a version; return its name and what it makes of the test folders.

    Started by torchrun, every process calls this; the leading one speaks, writes and exports.

    Args:
        job: what to do.
        say: takes each line of progress.

    Raises:
        Interrupted: by Ctrl-C; the message says how to go on.
        SeeFoodError: something can't be trained on, written to or shipped; no version is written then.
    """
    keep_memory()
    ranks.join()
    say = say if ranks.leads() else _silent
    data = folders.gather(job.folder, job.positive, job.extras, job.tests)
    registry.check_writable(job.models)
    if job.resume and not (job.models / RUNS / job.resume).is_dir():
        raise SeeFoodError(f"There is no run {job.resume} to resume in {job.models / RUNS}.")
    if job.resume and (job.models / job.resume).exists():
        raise SeeFoodError(f"The run {job.resume} is over; its version is {job.models / job.resume}.")
    classifier, absent = _start(job, job.seed)
    version = ranks.agree(job.resume or (new_run(job.models) if ranks.leads() else ""))
    run, created = job.models / RUNS / version, datetime.now(UTC)
    try:
        partial = bool(absent) and job.weights != "none"
        if partial:
            say(f"Absent from {job.weights}, so learnt from a fresh start: {', '.join(_modules(absent))}.")
        prepared = prepare(job, data, classifier, say)
        measured = [_fit_one(job, number, run, prepared, version, created, say) for number in range(job.fits)]
        if not ranks.leads():
            return version, {}
        with registry.new_version(job.models, version) as draft:
            return version, publish(draft, [each for each in measured if each], prepared)
    except (Interrupted, KeyboardInterrupt) as error:
        raise Interrupted(f"{error or 'Interrupted.'} Go on with the same command and --resume {version}.") from error


def new_run(models: Path) -> str:
    """Make a folder for a run that no other run has, and return its name: the moment, UTC, to the second."""
    while True:
        name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        try:
            (models / RUNS / name).mkdir(parents=True)
        except FileExistsError:
            time.sleep(0.2)  # another run started in this second
        else:
            return name


def _fit_one(
    job: Job, number: int, run: Path, prepared: Prepared, version: str, created: datetime, say: Callable[[str], None]
) -> Measured | None:
    """Fit, calibrate, export and measure one network; None in a process that does not lead."""
    classifier, absent = _start(job, job.seed + number)
    training, validation = prepared.training, prepared.validation
    folder = run / f"fit-{number}"
    probed = starts_as_probe(job.recipe, prepared, absent)
    if probed and prepared.features is not None:
        probe_head(classifier, prepared.features, training.targets)
    best = Best(0)
    if job.recipe.epochs:
        targets = torch.from_numpy(prepared.targets)
        best = fit(
            classifier,
            absent,
            training,
            targets,
            validation,
            folder,
            job.recipe,
            job.seed + number,
            say,
            drawn=prepared.drawn,
            probed=probed,
        )
        say(f"Epoch {best.epoch} of {job.recipe.epochs} ranks the validation photos best; it is {best.checkpoint}.")
    if not ranks.leads():
        return None
    classifier.eval()
    validation = validation.take(range(min(len(validation), GATE_PHOTOS)))
    logits, features = _pooled(classifier, validation)
    calibration = calibrate(logits, validation.targets, job.aim, job.prevalence)
    classifier.calibrate(calibration.temperature, calibration.bias)
    classifier.remember(*fit_gaussian(_pooled(classifier, training.take(range(min(len(training), GATE_PHOTOS))))[1]))
    with torch.inference_mode():
        familiarity = classifier.familiarity(torch.from_numpy(features)).numpy()
    metadata = Metadata(
        name=training.positive,
        version=version,
        positive_label=training.positive,
        negative_label=training.negative,
        threshold=calibration.threshold,
        uncertain_low=calibration.uncertain_low,
        uncertain_high=calibration.uncertain_high,
        temperature=calibration.temperature,
        backbone=job.backbone,
        resize=RESIZE_POLICY,
        photos_digest=training.plus(prepared.validation).digest(),
        metrics={},
        created=created.isoformat(timespec="seconds"),
        familiarity_level=round(level(familiarity), 4),
    )
    weights = weigh(validation.targets, job.prevalence)
    before, after = (
        calibration_error(validation.targets, answers, weights)
        for answers in (expit(logits), expit(logits / calibration.temperature + calibration.bias))
    )
    done = steps(job, prepared, _modules(absent), best.epoch, job.seed + number) | {
        "calibration": f"temperature {calibration.temperature:.3f} and bias {calibration.bias:+.3f}, which take the "
        f"calibration error on the validation photos from {before:.3f} to {after:.3f}",
        "mix": f"validation photos weighed so that {job.prevalence:.0%} are {training.positive}, for calibration and "
        "threshold"
        if job.prevalence
        else "the validation photos' own, for calibration and threshold",
        "threshold": f"{calibration.threshold}, for the aim {job.aim}",
    }
    fitted = Fitted(
        classifier,
        metadata,
        training,
        validation,
        prepared.findings,
        done,
        best.curves,
        prepared.suspects or (),
        prepared.changed,
    )
    return measure(folder, fitted, prepared.data.tests, say)


def _start(job: Job, seed: int) -> tuple[Classifier, list[str]]:
    """Build the network as its weights and the seed leave it."""
    L.seed_everything(seed, workers=True, verbose=False)
    return network.build(job.weights, job.backbone)


def _modules(tensors: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in tensors))


def _pooled(classifier: Classifier, photos: Photos) -> tuple[Array, Array]:
    """Return logits before temperature, float32 [N], and pooled features, float32 [N, channels]."""
    with torch.inference_mode():
        loader = validation_loader(photos, classifier.size)
        features = torch.cat([classifier.pooled(pixels) for pixels, _ in loader])
        return classifier.head(features[:, :, None, None]).flatten().numpy(), features.numpy()


def _silent(_: str) -> None:
    """Say nothing: another process does."""
