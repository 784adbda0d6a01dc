"""The fit: train a classifier, and keep the epoch with the highest ROC AUC on the validation photos."""

import csv
import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils.data import DataLoader

from service.errors import SeeFoodError
from training.config import Hyperparameters
from training.data.dataset import Example, Shard, training_loader, validation_loader
from training.data.photos import Photos
from training.model.backbones import backbone_spec
from training.model.classifier import Classifier, weights_digest
from training.model.devices import is_main_process, precision, rank, trainer_devices, world_size
from training.model.lit_classifier import LitClassifier
from training.registry.store import writing_to

LAST, BEST, CURVES = "last.ckpt", "best.ckpt", "metrics.csv"


class AtomicCheckpoints(TorchCheckpointIO):
    """Replaces a checkpoint in one step; Lightning copies it from the temporary folder, which may be another disk."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: object = None,  # noqa: ARG002 - the base class has it
    ) -> None:
        """Write a checkpoint beside the file, and rename it; raises OSError. `storage_options` is not used."""
        part, content = Path(f"{path}.part"), io.BytesIO()
        torch.save(checkpoint, content)  # to a file, it would raise RuntimeError if the disk is full
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


class Interrupted(SeeFoodError):
    """The user interrupted the fit; it can be resumed from its last checkpoint."""

    status = 130


class RunFingerprint(Callback):
    """Stores in each checkpoint what the fit depends on, so that only the same fit resumes from it."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = dict(values)

    def state_dict(self) -> dict[str, Any]:
        """Return what the fit depends on."""
        return self.values


def fit(
    classifier: Classifier,
    missing_keys: list[str],
    training: Photos,
    targets: Tensor,
    validation: Photos,
    folder: Path,
    hyperparameters: Hyperparameters,
    seed: int,
    *,
    crop_size: int | None = None,
    head_is_probe: bool = False,
) -> int:
    """Train the classifier in place; afterwards it has the weights of its best epoch, in float32 on the CPU.

    Args:
        classifier: as returned by `build_classifier`.
        missing_keys: tensors of its backbone without pretrained weights.
        training: photos to train on.
        targets: of these photos, float32 [views, N] in [0, 1].
        validation: photos that choose the epoch.
        folder: for the checkpoints BEST and LAST and the table CURVES; an interrupted fit in it is resumed.
        hyperparameters: of the fit.
        seed: random seed of the order and of the augmentation.
        crop_size: as in `training_loader`.
        head_is_probe: as in `LitClassifier`.

    Returns:
        The best epoch, from 1.

    Raises:
        Interrupted: by Ctrl-C.
        SeeFoodError: a weight became infinite or NaN, or the folder has a checkpoint of another fit.
    """
    fingerprint = RunFingerprint(
        {
            "backbone": classifier.backbone,
            "initial weights": weights_digest(classifier),
            **asdict(hyperparameters),
            "seed": seed,
            "photos": training.digest(),
            "validation photos": validation.digest(),
            "targets": hashlib.sha256(targets.numpy().tobytes()).hexdigest(),
        }
    )
    epochs_done = _epochs_done(folder / LAST, fingerprint)
    module = LitClassifier(
        classifier.to(memory_format=torch.channels_last),
        missing_keys,
        hyperparameters,
        head_is_probe=head_is_probe,
    )
    if epochs_done < hyperparameters.epochs:
        shard = Shard(rank(), world_size())
        sizes = _sizes(hyperparameters, classifier.backbone)
        loader = training_loader(training, targets, hyperparameters, sizes, seed, epochs_done, crop_size, shard)
        validation_shard = validation.take(range(shard.rank, len(validation), shard.world_size))
        with writing_to(folder):
            _run(
                module,
                loader,
                validation_loader(validation_shard, classifier.size),
                folder,
                fingerprint,
                resume=epochs_done > 0,
            )
    best, last = (torch.load(folder / name, map_location="cpu", weights_only=True) for name in (BEST, LAST))
    module.load_state_dict(best["state_dict"])
    classifier.to("cpu").eval()
    if is_main_process():
        _write_curves(folder / CURVES, last["rows"])
    return int(best["epoch"]) + 1


def training_sizes(hyperparameters: Hyperparameters, backbone: str) -> tuple[int, int]:
    """Return the side of the training squares in pixels, at first and in the final epochs."""
    spec = backbone_spec(backbone)
    return hyperparameters.train_size or spec.train_size, hyperparameters.final_size or spec.final_size


def _sizes(hyperparameters: Hyperparameters, backbone: str) -> list[int]:
    first, final = training_sizes(hyperparameters, backbone)
    final_epochs = hyperparameters.final_epochs()
    return [first] * (hyperparameters.epochs - final_epochs) + [final] * final_epochs


def _run(
    module: LitClassifier,
    training: DataLoader[Example],
    validation: DataLoader[Example],
    folder: Path,
    fingerprint: RunFingerprint,
    *,
    resume: bool,
) -> None:
    """Run the remaining epochs, and write the checkpoints of the best and of the last one."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its info lines are not about the fit
    hyperparameters = module.hyperparameters
    # The checkpoints are complete: with save_weights_only they would have the weights without the moving average.
    best = ModelCheckpoint(
        folder,
        Path(BEST).stem,
        monitor="val_auc",
        mode="max",
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(folder, Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks: list[Callback] = [fingerprint, best, last]
    if hyperparameters.ema_epochs:
        callbacks.append(EMAWeightAveraging(decay=1 - 1 / (1 + hyperparameters.ema_epochs * len(training))))
    trainer = L.Trainer(
        max_epochs=hyperparameters.epochs,
        precision=precision(),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=is_main_process() and sys.stderr.isatty(),
        **trainer_devices(),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # deprecations inside Lightning itself
        try:
            trainer.fit(module, training, validation, ckpt_path=folder / LAST if resume else None)
        except SystemExit as error:  # Lightning raises it on Ctrl-C, after its workers have stopped
            message = f"Interrupted in epoch {module.current_epoch + 1} of {hyperparameters.epochs}."
            raise Interrupted(message) from error


def _epochs_done(path: Path, fingerprint: RunFingerprint) -> int:
    """Return the number of epochs in the checkpoint of the same fit, 0 without one; raises SeeFoodError."""
    if not path.exists():
        return 0
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        earlier, done = checkpoint["callbacks"][fingerprint.state_key], len(checkpoint["rows"])
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        raise SeeFoodError(f"The checkpoint {path} is damaged; delete its folder and start again.") from error
    if differing := [name for name, value in fingerprint.values.items() if earlier.get(name) != value]:
        raise SeeFoodError(
            f"The checkpoint {path} is of another fit (what differs: {', '.join(differing)}); resume with the options "
            "and photos of the first start, or omit --resume."
        )
    return done


def _write_curves(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
