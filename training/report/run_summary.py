"""What was done to make a model, each step with its value, for the card and the report."""

from pathlib import Path

from service.photo import RESIZE_POLICY
from training.config import Job
from training.data import label_list as labels
from training.model import distributed as ranks
from training.model.backbones import Backbone, backbone
from training.model.fit import precision
from training.prepare import Prepared
from training.recipe import Recipe


def starts_as_probe(recipe: Recipe, prepared: Prepared, absent: list[str]) -> bool:
    """Return whether the head starts as a linear probe: it does where that is all, or the features are to stay.

    Layers that are learnt from nothing change the features altogether, and what a probe made of the old ones, in large
    weights where those were small, then stands in their way; docs/recipe.md has figures.
    """
    return prepared.features is not None and (recipe.epochs == 0 or (recipe.probe and not absent))


def steps(job: Job, prepared: Prepared, absent: list[str], epoch: int, seed: int) -> dict[str, object]:
    """Return the steps up to the fit, in order.

    Args:
        job: what was asked.
        prepared: what was fitted on.
        absent: modules of the backbone without weights.
        epoch: the one that was kept, counted from 1; 0 for a linear probe.
        seed: of the fit.
    """
    training, validation, recipe = prepared.training, prepared.validation, job.recipe
    partial = bool(absent) and job.weights != "none"
    positive = int(training.targets.sum())
    suspects = prepared.suspects
    return {
        "photos": f"{positive} {training.positive} and {len(training) - positive} {training.negative} fitted, "
        f"{len(validation)} others held back to validate; "
        f"{len(prepared.findings.left_out)} left out as unreadable or showing the same picture",
        **({"corrected labels": labels.summary(prepared.changed)} if job.labels else {}),
        "suspected labels": "unknown: the network started from nothing"
        if suspects is None
        else f"{len(suspects)} photos, {'left out of the fit' if job.drop_suspects else 'fitted all the same'}",
        "weights": Path(job.weights).name + (f"; absent from it: {', '.join(absent)}" if partial else ""),
        **(
            _fit_steps(job, prepared, absent, epoch)
            if recipe.epochs
            else {"fit": "a linear probe of the pretrained features"}
        ),
        "resize": RESIZE_POLICY,
        "seed": seed,
    }


def _fit_steps(job: Job, prepared: Prepared, absent: list[str], epoch: int) -> dict[str, object]:
    recipe, described = job.recipe, backbone(job.backbone)
    rate = recipe.learning_rate
    probed = starts_as_probe(recipe, prepared, absent)
    augmented = {
        "none": "none",
        "crop": "random crops, mirroring",
        "trivial": "random crops, mirroring, TrivialAugmentWide",
    }
    averaged = f"exponential average over {recipe.averaged_epochs:g} epoch of steps"
    return {
        "best epoch": f"{epoch} of {recipe.epochs}, by ROC AUC on the validation photos",
        "head": "starts as a linear probe of the pretrained features, and learns as slowly as they do"
        if probed
        else "starts at zero",
        "batch norms": "keep the mean and variance of the pretraining"
        if recipe.keep_norms and not absent
        else "learn the mean and variance of the batches",
        **({"frozen": f"the stages up to {recipe.frozen}, as pretrained"} if recipe.frozen else {}),
        "loss": f"binary cross-entropy on the logit, labels smoothed by {recipe.label_smoothing:g}"
        + (", both classes weighing the same" if recipe.class_weights else "")
        + _taught(job),
        "optimiser": f"AdamW, learning rate {rate:g} for fresh tensors and from {rate * recipe.first_share:.2g} (first "
        f"stage) to {rate * recipe.last_share:.2g} (last) for pretrained ones, weight decay {recipe.weight_decay:g}, "
        f"batches of {recipe.batch(len(prepared.training))}",
        "schedule": f"warm-up over {recipe.warm_up:.0%} of the steps, then cosine",
        "weights kept": averaged if recipe.averaged_epochs else "those of the last step",
        "augmentation": augmented[recipe.augmentation],
        "squares": _squares(recipe, described),
        "precision": precision() + (f", {ranks.world()} processes" if ranks.world() > 1 else ""),
    }


def _taught(job: Job) -> str:
    if not job.teachers:
        return ""
    names = ", ".join(path.name for path in job.teachers)
    return (
        f"; targets {job.recipe.teacher_share:.0%} by the mean of the teachers {names}, that see the same crop, "
        f"{job.recipe.views} views of each photo"
    )


def _squares(recipe: Recipe, described: Backbone) -> str:
    small, large = recipe.train_size or described.train_size, recipe.last_size or described.last_size
    large_epochs = recipe.large_epochs()
    return f"{small} px, {large} px in the last {large_epochs} epochs, and {described.size} px to validate and to serve"
