"""What a training run is asked to do, with its defaults; knows nothing of torch, so that help is quick."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "imagenet"
EPOCHS = 14
SEED = 0


@dataclass(frozen=True)
class Job:
    """What to train on, from what, and where to put it.

    Attributes:
        folder: has two subfolders of photos, one for each class.
        weights: where the backbone starts, as `network.build` takes it.
        positive: the class to say yes to; None: `hotdog`.
        models: the registry folder.
        tests: folders of labelled photos that nothing but the final figures sees.
        epochs: how often the training photos are seen.
        seed: of the split and of everything random in the fit, in [0, 2^32).
    """

    folder: Path
    models: Path
    weights: str = WEIGHTS
    positive: str | None = None
    tests: tuple[Path, ...] = ()
    epochs: int = EPOCHS
    seed: int = SEED
