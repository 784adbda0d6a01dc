"""Run summary: what was done in a run, by step, for the card and the report."""

from pathlib import Path

from service.photo import RESIZE_POLICY
from training.config import TrainConfig
from training.data.label_list import summarize
from training.model.backbones import backbone_spec
from training.model.calibration import Calibration
from training.model.devices import precision, world_size
from training.model.fit import training_sizes
from training.records import PreparedData


def summarize_run(
    config: TrainConfig,
    data: PreparedData,
    missing_modules: list[str],
    best_epoch: int,
    seed: int,
    calibration: Calibration,
    *,
    head_is_probe: bool,
) -> dict[str, object]:
    """Return the steps in order, each with its description.

    Args:
        config: of the run.
        data: the photos.
        missing_modules: modules of the backbone without pretrained weights.
        best_epoch: the epoch that was kept, from 1; 0 for a linear probe.
        seed: of the fit.
        calibration: of the classifier.
        head_is_probe: whether the head started as a linear probe.
    """
    training = data.training
    positive, negative = training.counts()
    return {
        "photos": f"{positive} {training.positive} and {negative} {training.negative} fitted, "
        f"{_from_inbox(data)}{len(data.validation)} others held out to validate; "
        f"{len(data.findings.left_out)} left out as unreadable or showing the same picture",
        **({"corrected labels": summarize(data.label_changes)} if config.label_list else {}),
        "suspected labels": _label_issues(config, data),
        "weights": _weights(config, missing_modules),
        **(
            _fit_steps(config, data, missing_modules, best_epoch, head_is_probe)
            if config.hyperparameters.epochs
            else {"fit": "a linear probe of the pretrained features"}
        ),
        "resize": RESIZE_POLICY,
        "seed": seed,
        "calibration": f"temperature {calibration.temperature:.3f} and bias {calibration.bias:+.3f}, which change the "
        f"calibration error on the validation photos from {calibration.error_before:.3f} to "
        f"{calibration.error_after:.3f}",
        "prevalence": f"validation photos weighted so that {config.prevalence:.0%} are {training.positive}, for "
        "calibration and threshold"
        if config.prevalence
        else "that of the validation photos, for calibration and threshold",
        "threshold": f"{calibration.threshold}, for the aim {config.threshold_target}",
    }


def _from_inbox(data: PreparedData) -> str:
    fitted = set(data.training.paths).intersection(data.accepted.paths)
    found = f"of which {len(fitted)} are accepted photos of the inbox ({len(data.corrections)} more are held out), "
    return found if len(data.accepted) + len(data.corrections) else ""


def _label_issues(config: TrainConfig, data: PreparedData) -> str:
    if data.label_issues is None:
        return "unknown: the network had no pretrained weights"
    dropped = "; those of the training photos are left out of the fit"
    return f"{len(data.label_issues)} photos{dropped if config.drop_label_issues else ', none of which is left out'}"


def _weights(config: TrainConfig, missing_modules: list[str]) -> str:
    partial = bool(missing_modules) and config.weights != "none"
    return Path(config.weights).name + (f"; missing from it: {', '.join(missing_modules)}" if partial else "")


def _fit_steps(
    config: TrainConfig, data: PreparedData, missing_modules: list[str], best_epoch: int, head_is_probe: bool
) -> dict[str, object]:
    settings = config.hyperparameters
    rate = settings.learning_rate
    train_size, final_size = training_sizes(settings, config.backbone)
    average = f"exponential average over {settings.ema_epochs:g} epoch of steps"
    return {
        "best epoch": f"{best_epoch} of {settings.epochs}, by ROC AUC on the validation photos",
        "head": "starts as a linear probe of the pretrained features, with the learning rate of the last stage"
        if head_is_probe
        else "starts at zero",
        "batch norms": "keep the mean and variance of the pretraining"
        if not missing_modules
        else "learn the mean and variance of the batches",
        **({"frozen": f"the stages up to {settings.freeze}, as pretrained"} if settings.freeze else {}),
        "loss": f"binary cross-entropy on the logit, labels smoothed by {settings.label_smoothing:g}"
        + _teachers(config, data),
        "optimiser": f"AdamW, learning rate {rate:g} for tensors without pretrained weights and from "
        f"{rate * settings.first_stage_rate:.2g} (first stage) to {rate * settings.last_stage_rate:.2g} (last) for "
        f"pretrained ones, weight decay {settings.weight_decay:g}, batches of {settings.batch(len(data.training))}",
        "schedule": f"warm-up over {settings.warmup:.0%} of the steps, then cosine",
        "weights kept": average if settings.ema_epochs else "those of the last step",
        "augmentation": "random crops, mirroring" if settings.augmentation == "crop" else "none",
        "squares": f"{train_size} px, {final_size} px in the last {settings.final_epochs()} epochs, and "
        f"{backbone_spec(config.backbone).size} px to validate and to serve",
        "precision": precision() + (f", {world_size()} processes" if world_size() > 1 else ""),
    }


def _teachers(config: TrainConfig, data: PreparedData) -> str:
    if not config.teachers:
        return ""
    names = ", ".join(path.name for path in config.teachers)
    settings = config.hyperparameters
    return (
        f"; {settings.teacher_weight:.0%} of each target is the mean probability of the teachers {names} for the same "
        f"crop, of {len(data.targets)} views of each photo"
    )
