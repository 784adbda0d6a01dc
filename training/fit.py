"""The fit: a pretrained network learns two classes, and the epoch that ranks the validation photos best is kept."""

import ctypes
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning as L
import loky
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC
from torchvision.transforms import v2

from service.errors import SeeFoodError
from service.photo import RESIZE_POLICY, decode, square
from training.folders import Photos
from training.looks import DECODE_AT_LEAST
from training.network import SIZE, Classifier

BATCH_SIZE = 32
TRAIN_SIZE = 176  # px: random crops magnify, so smaller training squares match 224 px at test (arXiv:1906.06423)
LEARNING_RATE = 1e-3  # of the tensors that start from nothing
PRETRAINED_SHARE = 0.1  # of that rate, for the tensors that start from ImageNet: they know edges and textures already
WEIGHT_DECAY = 0.05
WARM_UP = 0.1  # of all steps
LABEL_SMOOTHING = 0.1  # a label of a scraped photo is wrong now and then (arXiv:1512.00567)
AVERAGED_EPOCHS = 1.0  # the weights that are kept are an exponential average over about so many epochs of steps

# The same picture as a person would still know it: cropped, mirrored, turned, in another light.
AUGMENT = v2.Compose(
    [
        v2.RandomResizedCrop(TRAIN_SIZE, scale=(0.25, 1.0)),
        v2.RandomHorizontalFlip(),
        v2.TrivialAugmentWide(),
    ]
)


class PhotoDataset(Dataset[tuple[Tensor, Tensor]]):
    """Photos as uint8 [s, s, 3] pixels with float32 targets: augmented at TRAIN_SIZE, or as the service sees them."""

    def __init__(self, photos: Photos, *, augment: bool) -> None:
        self.photos = photos
        self.augment = augment

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        data = self.photos.paths[index].read_bytes()
        target = torch.tensor(self.photos.targets[index])
        if self.augment:
            image = AUGMENT(decode(data, at_least=DECODE_AT_LEAST))
            return torch.from_numpy(np.array(image)), target
        return torch.from_numpy(square(decode(data, at_least=SIZE), SIZE).copy()), target


class Fit(L.LightningModule):
    """Binary cross-entropy on the logit, AdamW at two rates, warm-up and cosine."""

    def __init__(self, network: Classifier, absent: list[str]) -> None:
        super().__init__()
        self.network = network
        self.fresh = {f"features.{name}" for name in absent} | {"head.weight", "head.bias"}
        self.accuracy = BinaryAccuracy()
        self.auc = BinaryAUROC()

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, s, s, 3] pixels to float32 [N] logits."""
        return self.network.heatmap(pixels).mean((1, 2))

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch of pixels and targets."""
        pixels, targets = batch
        loss = binary_cross_entropy_with_logits(self(pixels), _smoothed(targets))
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Stop a fit that has come to nothing; raises SeeFoodError."""
        if not all(torch.isfinite(weight).all() for weight in self.network.parameters()):
            raise SeeFoodError(
                f"The weights are no longer numbers after epoch {self.current_epoch + 1}; "
                "start from other weights, or look at the photos with seefood check."
            )

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log loss, accuracy and area under the ROC curve of one batch, averaged over the epoch."""
        pixels, targets = batch
        logits = self(pixels)
        self.accuracy(logits, targets)
        self.auc(logits, targets.int())
        loss = binary_cross_entropy_with_logits(logits, targets)
        self.log_dict({"val_loss": loss, "val_accuracy": self.accuracy, "val_auc": self.auc}, prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        """Return the optimiser with its two rates, and the schedule that moves both, step by step."""
        named = list(self.network.named_parameters())
        rates = {
            LEARNING_RATE * PRETRAINED_SHARE: [weight for name, weight in named if name not in self.fresh],
            LEARNING_RATE: [weight for name, weight in named if name in self.fresh],
        }
        rates = {rate: weights for rate, weights in rates.items() if weights}
        groups = [{"params": weights, "lr": rate} for rate, weights in rates.items()]
        optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=list(rates),
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=WARM_UP,
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class Best:
    """The epoch that was kept, counted from 1, and the file of its weights."""

    epoch: int
    checkpoint: Path


def fit(network: Classifier, absent: list[str], train: Photos, validation: Photos, folder: Path, epochs: int) -> Best:
    """Fit the network in place and leave it, in float32 on the CPU, as it was at its best epoch.

    Args:
        network: what `network.build` made.
        absent: tensors of the backbone that start from nothing.
        train: the photos that move the weights.
        validation: those that choose the epoch.
        folder: gets the checkpoint and a table of metrics an epoch.
        epochs: how often the training photos are seen.
    """
    _keep_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises
    module = Fit(network.to(memory_format=torch.channels_last), absent)
    loader = _loader(train, augment=True)
    averaging = EMAWeightAveraging(decay=1 - 1 / (1 + AVERAGED_EPOCHS * len(loader)))
    # Whole checkpoints: one of the weights only would hold those that were not averaged.
    best = ModelCheckpoint(folder, "best", monitor="val_auc", mode="max", save_weights_only=False)
    trainer = L.Trainer(
        max_epochs=epochs,
        precision=precision(),
        callbacks=[averaging, best],
        logger=CSVLogger(folder, name=None, version=""),
        log_every_n_steps=10,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # of what its own next release will call otherwise
        trainer.fit(module, loader, _loader(validation, augment=False))
    checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    network.to("cpu").eval()
    return Best(checkpoint["epoch"] + 1, Path(best.best_model_path))


def _smoothed(targets: Tensor) -> Tensor:
    return targets * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2


def recipe() -> dict[str, object]:
    """Return what is done to every fit, for the model card."""
    return {
        "loss": f"binary cross-entropy on the logit, labels smoothed by {LABEL_SMOOTHING:g}",
        "optimiser": f"AdamW, learning rate {LEARNING_RATE:g} for fresh tensors and "
        f"{LEARNING_RATE * PRETRAINED_SHARE:g} for pretrained ones, weight decay {WEIGHT_DECAY:g}, "
        f"batches of {BATCH_SIZE}",
        "schedule": f"warm-up over {WARM_UP:.0%} of the steps, then cosine",
        "weights kept": f"exponential average over {AVERAGED_EPOCHS:g} epoch of steps",
        "augmentation": ", ".join(type(step).__name__ for step in AUGMENT.transforms),
        "squares": f"{TRAIN_SIZE} px while training, {SIZE} px for validation and serving ({RESIZE_POLICY})",
        "precision": precision(),
    }


def precision() -> Literal["bf16-mixed", "32-true"]:
    """Return bfloat16 autocast where the hardware multiplies it natively (twice as fast here), else float32."""
    native = (
        torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu.get_capabilities().get("amx_bf16")
    )
    return "bf16-mixed" if native else "32-true"


def _loader(photos: Photos, *, augment: bool) -> DataLoader[tuple[Tensor, Tensor]]:
    return DataLoader(
        PhotoDataset(photos, augment=augment),
        batch_size=BATCH_SIZE,
        shuffle=augment,
        drop_last=augment,
        num_workers=loky.cpu_count(),
        persistent_workers=True,
    )


def seed_everything(seed: int) -> None:
    """Seed all that is random from here on: fresh tensors, the order of the photos and their augmentation."""
    L.seed_everything(seed, workers=True, verbose=False)


def _keep_memory() -> None:
    """Tell glibc to keep freed memory: on a CPU an epoch then takes a third of the time (mallopt(3))."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
