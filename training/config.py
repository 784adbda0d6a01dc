"""What a training run is asked to do, with its defaults; knows nothing of torch, so that help is quick."""

from dataclasses import dataclass, field
from pathlib import Path

from service.errors import SeeFoodError
from training.recipe import Recipe

WEIGHTS = "imagenet"
BACKBONE = "resnet18"
BACKBONE_NAMES = ("resnet18", "resnet34", "resnet50", "densenet121", "googlenet", "inception_v3")
SEED = 0


@dataclass(frozen=True)
class Aim:
    """What the threshold is for: accuracy, or at least so much precision or recall on the validation photos."""

    metric: str
    value: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Aim":
        """Read `accuracy`, `precision=0.99` or `recall=0.95`; raises SeeFoodError."""
        metric, _, number = text.partition("=")
        try:
            value = float(number) if number else 0.0
        except ValueError:
            value = -1.0
        if text != "accuracy" and not (metric in ("precision", "recall") and 0 < value <= 1):
            raise SeeFoodError(
                f"The aim '{text}' is none of accuracy, precision=0.99 and recall=0.95, or such a number."
            )
        return cls(metric, value)

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}" if self.value else self.metric


@dataclass(frozen=True)
class Job:
    """What to train on, from what, and where to put it.

    Attributes:
        folder: has two subfolders of photos, one for each class, or train, val and test with such subfolders.
        models: the registry folder.
        backbone: the network's name, as `backbones.backbone` takes it.
        weights: where the backbone starts, as `backbones.build_body` takes it.
        positive: the class to say yes to; None: `hotdog`.
        extras: further folders with one or both of the classes, to learn from.
        tests: folders of labelled photos that nothing but the final figures sees.
        labels: a list of corrected labels, as `labels.read_labels` takes it.
        teachers: ONNX files to learn from beside the labels.
        drop_suspects: whether to fit without the photos that look mislabelled.
        recipe: how to fit.
        aim: what the threshold is for.
        prevalence: the share of positive photos among those that users will show, as `calibrate` takes it.
        seed: of the split and of everything random in the first fit, in [0, 2^32).
        fits: how often to fit, each time with the next seed; the best on the validation photos is kept.
        resume: a run that was interrupted, to go on with; None: a new one.
    """

    folder: Path
    models: Path
    backbone: str = BACKBONE
    weights: str = WEIGHTS
    positive: str | None = None
    extras: tuple[Path, ...] = ()
    tests: tuple[Path, ...] = ()
    labels: Path | None = None
    teachers: tuple[Path, ...] = ()
    drop_suspects: bool = False
    recipe: Recipe = field(default_factory=Recipe)
    aim: Aim = Aim("accuracy")
    prevalence: float | None = None
    seed: int = SEED
    fits: int = 1
    resume: str | None = None
