"""Configuration of a training run; this module does not import torch, so that `--help` is fast."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from service.errors import SeeFoodError

Augmentation = Literal["none", "crop"]

WEIGHTS = "imagenet"
BACKBONE = "resnet18"
BACKBONE_NAMES = ("resnet18", "resnet34", "resnet50", "densenet121", "googlenet", "inception_v3")
SEED = 0


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of one fit; docs/recipe.md has the measurements behind the defaults.

    Attributes:
        epochs: number of passes over the training photos; 0 trains a linear probe only.
        batch_size: photos per step, over all processes; None: 32, and fewer for small folders.
        train_size: side of the training squares in pixels; None: the default of the backbone.
        final_size: side of the training squares in pixels for the last third of the epochs; None: the default of
            the backbone.
        learning_rate: of layers without pretrained weights, and of a head that starts at zero; a head that starts as a
            linear probe has the rate of the last stage.
        last_stage_rate, first_stage_rate: learning rate of the last and of the first pretrained stage, as a fraction of
            `learning_rate`; the stages between them are interpolated geometrically.
        weight_decay: of AdamW.
        warmup: fraction of the steps in which the learning rate rises; it then falls along a cosine.
        label_smoothing: targets are moved by half of this value towards 0.5.
        ema_epochs: time constant, in epochs, of the exponential moving average of the weights; 0: no average.
        freeze: last pretrained stage that is not trained; the stages before it are not trained either. None: all
            stages are trained.
        augmentation: `crop`: random crops and mirroring of the training photos.
        teacher_weight: weight of the teachers' probability in the target; the rest is the label.
        views: number of augmented crops of each photo for which the teachers' probability is computed.
        auxiliary_weight: weight of the loss of an auxiliary head, relative to the loss of the head.
    """

    epochs: int = 12
    batch_size: int | None = None
    train_size: int | None = None  # small squares are fast
    final_size: int | None = None  # larger squares adapt the network to the serving size (arXiv:1906.06423)
    learning_rate: float = 1e-3
    last_stage_rate: float = 0.1
    first_stage_rate: float = 0.1
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1  # some labels of scraped photos are wrong (arXiv:1512.00567)
    ema_epochs: float = 1.0
    freeze: str | None = None
    augmentation: Augmentation = "crop"  # TrivialAugmentWide (arXiv:2103.10158) needs longer fits
    teacher_weight: float = 0.9  # arXiv:2106.05237 uses 1; a tenth keeps corrections made by people
    views: int = 3
    auxiliary_weight: float = 0.3  # arXiv:1409.4842

    def batch(self, photos: int) -> int:
        """Return the batch size for a number of training photos; a small folder still has about 32 steps an epoch."""
        return self.batch_size or max(8, min(32, photos // 32))

    def final_epochs(self) -> int:
        """Return the number of epochs at the end that use `final_size`."""
        return round(self.epochs / 3)


@dataclass(frozen=True)
class ThresholdTarget:
    """Metric that chooses the threshold: accuracy, or a minimum precision or recall on the validation photos."""

    metric: str
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "ThresholdTarget":
        """Parse `accuracy`, `precision=0.99` or `recall=0.95`; raises SeeFoodError."""
        metric, _, number = text.partition("=")
        try:
            value = float(number) if number else 0.0
        except ValueError:
            value = -1.0
        if text != "accuracy" and not (metric in ("precision", "recall") and 0 < value <= 1):
            raise SeeFoodError(f"--aim '{text}' is not valid; use accuracy, precision=NUMBER or recall=NUMBER up to 1.")
        return cls(metric, value)

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}" if self.value else self.metric


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run.

    Attributes:
        folder: training folder, as for `training.data.photos.gather`.
        models: folder of the model registry.
        backbone: name of the backbone, as for `training.model.backbones.backbone_spec`.
        weights: initial weights, as for `training.model.backbones.build_body`.
        positive: the positive class; None: `hotdog`.
        extras: further training folders with one or both classes.
        tests: folders of labelled photos that are used for the test figures only.
        inbox: folder of an inbox, whose accepted photos are trained on; None: no inbox.
        label_list: CSV file of corrected labels, as for `training.data.label_list.read_label_list`.
        teachers: ONNX files for distillation.
        drop_label_issues: whether to leave out training photos that look mislabelled.
        hyperparameters: of each fit.
        threshold_target: metric that chooses the threshold.
        prevalence: expected share of positive photos in use, in (0, 1), as for `training.model.calibration.calibrate`.
        seed: random seed of the split and of the first fit, in [0, 2^32).
        fits: number of fits, each with the next seed; the best one on the validation photos is kept.
        resume: name of an interrupted run to resume; None: a new run.
    """

    folder: Path
    models: Path
    backbone: str = BACKBONE
    weights: str = WEIGHTS
    positive: str | None = None
    extras: tuple[Path, ...] = ()
    tests: tuple[Path, ...] = ()
    inbox: Path | None = None
    label_list: Path | None = None
    teachers: tuple[Path, ...] = ()
    drop_label_issues: bool = False
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    threshold_target: ThresholdTarget = ThresholdTarget("accuracy")
    prevalence: float | None = None
    seed: int = SEED
    fits: int = 1
    resume: str | None = None
