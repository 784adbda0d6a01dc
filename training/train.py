"""The training pipeline, top to bottom: photos, targets, fit, calibration, export, evaluation, version."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lightning as L
import numpy as np
import torch

from service.errors import SeeFoodError
from service.metadata import Metadata
from service.model import Model
from service.photo import RESIZE_POLICY, printable
from service.registry import FILES
from training.config import TrainConfig
from training.data.accepted import add_accepted, require_untested
from training.data.cache import CACHE, Cache
from training.data.checks import check_photos, find_label_issues
from training.data.dataset import smooth_labels
from training.data.label_list import LabelChange, correct_labels
from training.data.photos import MIN_VALIDATION, TrainingData, gather, leave_out, shuffle, split
from training.evaluation.evaluate import Evaluation, evaluate_current, evaluate_folders, evaluate_photos
from training.evaluation.learning_curve import LearningCurve, learning_curve
from training.evaluation.metrics import Metric, mean_and_deviation
from training.evaluation.synthetic import evaluate_synthetic
from training.export.onnx_export import export_model
from training.model import devices
from training.model.calibration import Calibration, calibrate, prevalence_weights
from training.model.classifier import (
    Classifier,
    build_classifier,
    cached_features,
    familiarity_level,
    logits_and_features,
    out_of_fold_probabilities,
)
from training.model.devices import keep_freed_memory
from training.model.distillation import Ensemble, mix_targets
from training.model.fit import CURVES, Interrupted, fit
from training.records import PreparedData, RunResult
from training.registry.store import RUNS, check_writable, new_run, new_version, require_unfinished
from training.report.run_summary import summarize_run
from training.report.version_files import write_version

CALIBRATION_PHOTOS = 2000  # photos for calibration, familiarity and gates; more would only take memory

_log = logging.getLogger(__name__)


def train(config: TrainConfig) -> tuple[str, Mapping[str, Evaluation]]:
    """Train a version and add it to the registry.

    With torchrun, every process calls this function; only the main process exports and writes files.

    Returns:
        The name of the version, and the evaluation of each test folder (empty in other processes than the main one).

    Raises:
        Interrupted: by Ctrl-C.
        SeeFoodError: something can't be used, or a gate does not pass; no version is written.
    """
    keep_freed_memory()
    devices.init_process_group()
    _require_consistent(config)
    data = gather(config.folder, config.positive, config.extras, config.tests)
    if config.inbox:
        data = add_accepted(data, config.inbox)
    check_writable(config.models)
    if config.resume:
        require_unfinished(config.models, config.resume)
    teachers = Ensemble(config.teachers) if config.teachers else None
    classifier, missing_keys = build(config, config.seed)
    if config.hyperparameters.freeze:  # to refuse a wrong name now; each fit builds its own network
        classifier.freeze(config.hyperparameters.freeze)
    version = devices.broadcast(config.resume or (new_run(config.models) if devices.is_main_process() else ""))
    created = datetime.now(UTC)
    try:
        if missing_keys and config.weights != "none":
            _log.info("%s has no weights for %s.", config.weights, ", ".join(_modules(missing_keys)))
        prepared = prepare(config, data, classifier, teachers)
        results = [fit_once(config, prepared, version, created, number) for number in range(config.fits)]
        finished = [result for result in results if result]
        if not finished:
            return version, {}
        with new_version(config.models, version) as draft:
            best = max(finished, key=lambda result: result.validation.metrics["roc_auc"].value)
            current_version, current = evaluate_current(config.models, best.labels, prepared.tests)
            best = replace(
                best,
                fits=config.fits,
                over_fits=mean_and_deviation([_all_metrics(result) for result in finished]),
                synthetic=evaluate_synthetic(Model(best.folder / FILES["int8"]), draft),
                current=current,
                current_version=current_version,
                learning_curve=curve_of(prepared, config.seed),
            )
            write_version(draft, best)
        _remove_checkpoints(config.models / RUNS / version)
        return version, best.tests
    except (Interrupted, KeyboardInterrupt) as error:
        raise Interrupted(
            f"{str(error) or 'Interrupted.'} Run the same command with --resume {version} to continue."
        ) from error


def prepare(
    config: TrainConfig, data: TrainingData, classifier: Classifier, teachers: Ensemble | None = None
) -> PreparedData:
    """Correct labels, check and split the photos, find label issues, and compute the targets; raises SeeFoodError."""
    hyperparameters, cache = config.hyperparameters, Cache(config.models / CACHE)
    label_changes: Sequence[LabelChange] = ()
    if config.label_list:
        data, label_changes = correct_labels(data, config.label_list)
    with devices.main_process_first():
        held_out = [data.corrections.paths, *data.held_out()]
        findings = check_photos(data.photos.plus(data.accepted), held_out, cache)
    if config.inbox:
        require_untested(data.accepted.plus(data.corrections), data.held_out(), findings.digests)
    for path, reason in findings.left_out.items():
        _log.info("Left out: %s: %s", printable(path), reason)
    photos = leave_out(data.photos, findings.left_out)
    if data.validation is None:
        training, validation = split(photos, findings.digests, config.seed)
    else:
        validation = leave_out(data.validation, findings.left_out, MIN_VALIDATION)
        training, validation = (shuffle(part, findings.digests, config.seed) for part in (photos, validation))
    # Accepted photos are not validation photos: a model got most of them wrong, so they would bias the calibration.
    accepted, corrections = (part.without(findings.left_out) for part in (data.accepted, data.corrections))
    if config.inbox:
        training = shuffle(training.plus(accepted), findings.digests, config.seed)
        _log.info(
            "%d accepted photos of the inbox are fitted too, and %d are held out.", len(accepted), len(corrections)
        )

    features, validation_features, label_issues = None, None, None
    if config.weights != "none":
        both = training.plus(validation)
        with devices.main_process_first():
            digests = [findings.digests[path] for path in both.paths]
            all_features = cached_features(classifier, both, digests, cache)
        if not np.isfinite(all_features).all():
            raise SeeFoodError(f"The weights {config.weights} make features that are not numbers; use other weights.")
        label_issues = find_label_issues(both, out_of_fold_probabilities(all_features, both.targets))
        features, validation_features = np.split(all_features, [len(training)])
        action = "; those of the training photos are left out" if config.drop_label_issues else ""
        _log.info("%d photos look mislabelled%s.", len(label_issues), action)
        if config.drop_label_issues:
            mislabelled = {issue.path for issue in label_issues} - set(validation.paths)
            features = features[[path not in mislabelled for path in training.paths]]
            # The minimum is that of the training folder; it has the validation photos too, unless they have their own.
            leave_out(both if data.validation is None else training, mislabelled)
            training = training.without(mislabelled)

    targets, crop_size = smooth_labels(training.targets, hyperparameters), None
    if teachers:
        crop_size = teachers.crop_size
        with devices.main_process_first():
            digests = [findings.digests[path] for path in training.paths]
            probabilities = teachers.probabilities(training, digests, hyperparameters, cache)
        targets = mix_targets(targets, probabilities, hyperparameters)
    _log.info(
        "%d photos to fit and %d to validate, %s or %s.",
        len(training),
        len(validation),
        training.positive,
        training.negative,
    )
    return PreparedData(
        training=training,
        validation=validation,
        tests=data.tests,
        findings=findings,
        label_changes=label_changes,
        label_issues=label_issues,
        features=features,
        targets=targets,
        crop_size=crop_size,
        validation_features=validation_features,
        accepted=accepted,
        corrections=corrections,
    )


def curve_of(data: PreparedData, seed: int, more: int | None = None) -> LearningCurve | None:
    """Return the learning curve of the pretrained features, with the validation photos held out; None without them."""
    if data.features is None or data.validation_features is None:
        return None
    validation = data.validation_features, data.validation.targets
    return learning_curve((data.features, data.training.targets), validation, seed, more)


def fit_once(config: TrainConfig, data: PreparedData, version: str, created: datetime, number: int) -> RunResult | None:
    """Fit, calibrate, export and evaluate one classifier; returns None in other processes than the main one."""
    hyperparameters, seed = config.hyperparameters, config.seed + number
    folder = config.models / RUNS / version / f"fit-{number}"
    classifier, missing_keys = build(config, seed)
    # A random head distorts pretrained features (arXiv:2202.10054), so the head starts as a probe of them. But layers
    # without pretrained weights change all features, and a probe of the old ones would not fit.
    use_probe = hyperparameters.epochs == 0 or not missing_keys
    probe_features = data.features if use_probe else None
    if probe_features is not None:
        classifier.set_head_to_probe(probe_features, data.training.targets)
    head_is_probe = probe_features is not None
    epoch = 0
    if hyperparameters.epochs:
        epoch = fit(
            classifier,
            missing_keys,
            data.training,
            torch.from_numpy(data.targets),
            data.validation,
            folder,
            hyperparameters,
            seed,
            crop_size=data.crop_size,
            head_is_probe=head_is_probe,
        )
        _log.info("Epoch %d of %d has the highest validation ROC AUC; it is kept.", epoch, hyperparameters.epochs)
    if not devices.is_main_process():
        return None
    training, validation = (
        part.sample(CALIBRATION_PHOTOS, MIN_VALIDATION) for part in (data.training, data.validation)
    )
    classifier.eval()
    logits, features = logits_and_features(classifier, validation)
    calibration = calibrate(logits, validation.targets, config.threshold_target, config.prevalence)
    classifier.set_calibration(calibration.temperature, calibration.bias)
    classifier.fit_gaussian(logits_and_features(classifier, training)[1])
    with torch.inference_mode():
        familiarity = classifier.familiarity(torch.from_numpy(features)).numpy()
    metadata = _metadata(config, data, version, created, calibration, familiarity_level(familiarity))
    histogram = calibration.histogram(logits, prevalence_weights(validation.targets, config.prevalence))
    metadata = replace(metadata, probability_histogram=histogram)
    gates = export_model(classifier, metadata, data.training, validation, folder)
    model = Model(folder / FILES["int8"])
    return RunResult(
        data=data,
        folder=folder,
        classifier=classifier,
        metadata=metadata,
        summary=summarize_run(
            config, data, _modules(missing_keys), epoch, seed, calibration, head_is_probe=head_is_probe
        ),
        curves=folder / CURVES if epoch else None,
        gates=gates,
        validation=evaluate_photos(model, validation),
        tests=evaluate_folders(model, data.tests),
    )


def _remove_checkpoints(run: Path) -> None:
    """Remove the files of a complete run except its tables; a retraining every night would fill the disk."""
    for path in run.glob("fit-*/*"):
        if path.name != CURVES:
            path.unlink(missing_ok=True)  # another process of the same run may do the same


def build(config: TrainConfig, seed: int) -> tuple[Classifier, list[str]]:
    """Build the classifier with its initial weights, and set all random seeds; raises SeeFoodError."""
    L.seed_everything(seed, workers=True, verbose=False)
    return build_classifier(config.weights, config.backbone)


def _require_consistent(config: TrainConfig) -> None:
    """Raise SeeFoodError if options can't have an effect together."""
    hyperparameters = config.hyperparameters
    if config.weights == "none" and not hyperparameters.epochs:
        raise SeeFoodError(
            "--epochs 0 fits a linear probe, which requires pretrained weights; give --weights, or more epochs."
        )
    if config.weights == "none" and config.drop_label_issues:
        raise SeeFoodError("--drop-suspects requires pretrained weights; give --weights, or omit --drop-suspects.")
    if (config.teachers or hyperparameters.freeze) and not hyperparameters.epochs:
        raise SeeFoodError("--teacher and --freeze have no effect with --epochs 0; omit them, or give more epochs.")


def _metadata(
    config: TrainConfig,
    data: PreparedData,
    version: str,
    created: datetime,
    calibration: Calibration,
    level: float,
) -> Metadata:
    return Metadata(
        name=data.training.positive,
        version=version,
        positive_label=data.training.positive,
        negative_label=data.training.negative,
        threshold=calibration.threshold,
        uncertain_low=calibration.uncertain_low,
        uncertain_high=calibration.uncertain_high,
        temperature=calibration.temperature,
        backbone=config.backbone,
        resize=RESIZE_POLICY,
        photos_digest=data.training.plus(data.validation).digest(),
        metrics={},
        created=created.isoformat(timespec="seconds"),
        familiarity_level=round(level, 4),
    )


def _all_metrics(result: RunResult) -> dict[str, Metric]:
    evaluations = {"validation": result.validation, **result.tests}
    return {f"{name}: {metric}": value for name, each in evaluations.items() for metric, value in each.metrics.items()}


def _modules(keys: list[str]) -> list[str]:
    """Return the modules of tensors, each once."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in keys))
