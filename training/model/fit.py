"""The fit: a pretrained network learns two classes, and the epoch that ranks the validation photos best is kept."""

import csv
import ctypes
import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from service.errors import SeeFoodError
from training.data.dataset import Example, training_loader, validation_loader
from training.data.folders import Photos
from training.model import distributed as ranks
from training.model.classifier import Classifier
from training.model.lit_classifier import Learner, balance
from training.recipe import Recipe
from training.registry.store import writing_to

LAST, BEST, CURVES = "last.ckpt", "best.ckpt", "metrics.csv"


class Interrupted(SeeFoodError):
    """A person stopped the fit; it can go on from its last checkpoint."""

    status = 130


@dataclass(frozen=True)
class Best:
    """The epoch that was kept, counted from 1, the file of its weights, and the table of all epochs' figures.

    A linear probe has no epochs: 0, and no files.
    """

    epoch: int
    checkpoint: Path | None = None
    curves: Path | None = None


class Told(Callback):
    """Remembers in each checkpoint what the fit was asked for, and refuses one of another fit."""

    def __init__(self, job: Mapping[str, object]) -> None:
        self.job = dict(job)

    def state_dict(self) -> dict[str, Any]:
        """Return what the fit was asked for."""
        return self.job


def fit(
    network: Classifier,
    absent: list[str],
    train: Photos,
    targets: Tensor,
    validation: Photos,
    folder: Path,
    recipe: Recipe,
    seed: int,
    say: Callable[[str], None],
    *,
    drawn: int | None = None,
    probed: bool = False,
) -> Best:
    """Fit the network in place and leave it, in float32 on the CPU, as it was at its best epoch.

    Args:
        network: what `network.build` made.
        absent: tensors of the backbone that start from nothing.
        train: the photos that move the weights.
        targets: what the network should say of them, float32 [views, N] in [0, 1], as `training_loader` takes it.
        validation: the photos that choose the epoch.
        folder: gets the checkpoints and a table of figures by epoch; a fit that was interrupted there goes on.
        recipe: how to fit.
        seed: of the order of the photos and of their augmentation.
        say: takes a line of progress after each epoch.
        drawn: as in TrainingSet.
        probed: whether the head is a linear probe of the features already, and so learns as slowly as they do.

    Raises:
        Interrupted: by Ctrl-C.
        SeeFoodError: the weights became no numbers, or the folder holds a checkpoint of another fit.
    """
    told = Told(
        {"backbone": network.backbone, "recipe": str(recipe), "seed": seed, "photos": train.digest()}
        | {"targets": hashlib.sha256(targets.numpy().tobytes()).hexdigest()}
    )
    done = _epochs_done(folder / LAST, told)
    weights = balance(train, recipe)
    learner = Learner(network.to(memory_format=torch.channels_last), absent, recipe, weights, say, probed=probed)
    if done < recipe.epochs:
        loader = training_loader(train, targets, recipe, network.backbone, seed, done, drawn)
        mine = validation.take(range(ranks.rank(), len(validation), ranks.world()))
        with writing_to(folder):
            _run(learner, loader, validation_loader(mine, network.size), folder, told, resume=done > 0)
    best, last = (torch.load(folder / name, map_location="cpu", weights_only=True) for name in (BEST, LAST))
    learner.load_state_dict(best["state_dict"])
    network.to("cpu").eval()
    if ranks.leads():
        _write_table(folder / CURVES, last["rows"])
    return Best(best["epoch"] + 1, folder / BEST, folder / CURVES)


def _run(
    learner: Learner,
    training: DataLoader[Example],
    validation: DataLoader[Example],
    folder: Path,
    told: Told,
    *,
    resume: bool,
) -> None:
    """Let Lightning do all epochs that are left, and write the best and the last of them into the folder."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises
    recipe = learner.recipe
    # Whole checkpoints: one of the weights only would hold those that were not averaged.
    best = ModelCheckpoint(
        folder,
        Path(BEST).stem,
        monitor="val_auc",
        mode="max",
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(folder, Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks: list[Callback] = [told, best, last]
    if recipe.averaged_epochs:
        callbacks.append(EMAWeightAveraging(decay=1 - 1 / (1 + recipe.averaged_epochs * len(training))))
    trainer = L.Trainer(
        max_epochs=recipe.epochs,
        precision=precision(),
        callbacks=callbacks,
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=ranks.leads() and sys.stderr.isatty(),
        **_devices(),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # of what its own next release will call otherwise
        try:
            trainer.fit(learner, training, validation, ckpt_path=folder / LAST if resume else None)
        except SystemExit as error:  # how Lightning ends on Ctrl-C, once its workers have stopped
            raise Interrupted(f"Interrupted in epoch {learner.current_epoch + 1} of {recipe.epochs}.") from error


def _epochs_done(path: Path, told: Told) -> int:
    """Return how many epochs an earlier start of the same fit has left a checkpoint of; raises SeeFoodError."""
    if not path.exists():
        return 0
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        earlier, done = checkpoint["callbacks"][told.state_key], len(checkpoint["rows"])
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise SeeFoodError(f"The checkpoint {path} is damaged; delete its folder and start again.") from error
    for what, value in told.job.items():
        if earlier.get(what) != value:
            raise SeeFoodError(
                f"The checkpoint {path} is of another fit: its {what} is {earlier.get(what)}, not {value}; "
                "resume it with the options and photos that it was started with."
            )
    return done


def _write_table(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _devices() -> dict[str, Any]:
    """Return Lightning's options for this process alone, or for all that torchrun has started."""
    if ranks.world() == 1:
        return {"devices": 1}
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    cuda = torch.cuda.is_available()
    return {"strategy": "ddp", "devices": here, "num_nodes": ranks.world() // here, "sync_batchnorm": cuda}


def precision() -> Literal["bf16-mixed", "16-mixed", "32-true"]:
    """Return bfloat16 autocast where the hardware multiplies it natively (twice as fast), else what is next best."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    native = torch.cpu.get_capabilities()
    return "bf16-mixed" if native.get("amx_bf16") or native.get("avx512_bf16") else "32-true"


def keep_memory() -> None:
    """Tell glibc to keep freed memory: on a CPU an epoch then takes a third of the time (mallopt(3))."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
