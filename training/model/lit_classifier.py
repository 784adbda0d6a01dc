"""What one step of a fit does: the loss, the figures of an epoch, and how fast each stage learns."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from service.errors import SeeFoodError
from training.data.dataset import Example
from training.data.folders import Photos
from training.model.classifier import Classifier, fresh_parameters
from training.recipe import Recipe


class Learner(L.LightningModule):
    """Binary cross-entropy on the logit, AdamW at rates that fall towards the first stage, warm-up and cosine."""

    def __init__(
        self,
        network: Classifier,
        absent: list[str],
        recipe: Recipe,
        balance: tuple[float, float],
        say: Callable[[str], None] = lambda _: None,
        *,
        probed: bool = False,
    ) -> None:
        super().__init__()
        self.say = say
        self.network = network
        self.fresh = fresh_parameters(network, absent)
        if probed:  # a head that is a probe already would be lost at the rate of a fresh one
            self.fresh -= {"head.weight", "head.bias"}
        self.recipe = recipe
        self.keep_norms = recipe.keep_norms and not absent
        if recipe.frozen:
            network.freeze(recipe.frozen)
        self.negative_weight, self.positive_weight = balance
        self.accuracy = BinaryAccuracy()
        self.auc = BinaryAUROC()
        self.loss = MeanMetric()  # Lightning's own mean is off where processes have unequal numbers of photos
        self.rows: list[dict[str, float]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, s, s, 3] pixels to float32 [N] logits."""
        return self.network.heatmap(pixels).mean((1, 2))

    def training_step(self, batch: Example, _: int) -> Tensor:
        """Return the loss of one batch of pixels and targets."""
        pixels, targets = batch
        logit, *others = self.network.exits(pixels)
        loss = self._loss(logit, targets)
        for other in others:
            loss = loss + self.recipe.auxiliary_share * self._loss(other, targets)
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        weights = targets * self.positive_weight + (1 - targets) * self.negative_weight
        return binary_cross_entropy_with_logits(logits, targets, weights)

    def on_train_epoch_start(self) -> None:
        """Seed what the network itself draws, so that an epoch is the same in a fit that was interrupted before it."""
        torch.manual_seed(self.current_epoch)
        if self.recipe.frozen:
            self.network.freeze(self.recipe.frozen)
        for module in self.network.features.modules() if self.keep_norms else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def on_validation_epoch_start(self) -> None:
        """Stop a fit that has come to nothing; raises SeeFoodError."""
        if not all(torch.isfinite(weight).all() for weight in self.network.state_dict().values()):
            raise SeeFoodError(
                f"The weights are no longer numbers in epoch {self.current_epoch + 1}; "
                "start from other weights, or look at the photos with seefood check."
            )

    def validation_step(self, batch: Example, _: int) -> None:
        """Log loss, accuracy and area under the ROC curve of one batch, over the epoch and all processes."""
        pixels, targets = batch
        logits = self(pixels)
        self.accuracy(logits, targets)
        self.auc(logits, targets.int())
        self.loss(binary_cross_entropy_with_logits(logits, targets), len(targets))
        metrics: dict[str, Any] = {"val_loss": self.loss, "val_accuracy": self.accuracy, "val_auc": self.auc}
        self.log_dict(metrics, prog_bar=True, on_epoch=True)

    def on_train_epoch_end(self) -> None:
        """Note the epoch's figures, which the checkpoint keeps, and say them."""
        figures = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.rows.append({"epoch": self.current_epoch, **figures})
        if "val_auc" in figures:
            self.say(
                f"Epoch {self.current_epoch + 1} of {self.recipe.epochs}: loss {figures['loss']:.3f}; "
                f"on the photos held back {figures['val_loss']:.3f}, ROC AUC {figures['val_auc']:.3f}."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the figures of all epochs."""
        checkpoint["rows"] = self.rows

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the figures of the epochs before an interruption."""
        self.rows = checkpoint["rows"]

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        """Return the optimiser with its rates, and the schedule that moves them all, step by step."""
        groups: dict[float, list[Tensor]] = {}
        for name, weight in self.network.named_parameters():
            if not weight.requires_grad:
                continue
            groups.setdefault(self._rate(name), []).append(weight)
        optimizer = torch.optim.AdamW(
            [{"params": weights, "lr": rate} for rate, weights in groups.items()], weight_decay=self.recipe.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=list(groups),
            total_steps=steps,
            pct_start=max(self.recipe.warm_up, min(0.75, 1.5 / steps)),  # over its first step it would divide by zero
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, name: str) -> float:
        """Return the top learning rate of a tensor: pretrained stages learn slower towards the photo."""
        recipe = self.recipe
        if name in self.fresh:
            return recipe.learning_rate
        if name.startswith("head."):
            return recipe.learning_rate * recipe.last_share
        stages = [stage for stage, module in self.network.features.named_children() if list(module.parameters())]
        stage = name.split(".")[1]
        depth = stages.index(stage) / max(1, len(stages) - 1)
        share: float = recipe.first_share ** (1 - depth) * recipe.last_share**depth
        return recipe.learning_rate * share


def balance(photos: Photos, recipe: Recipe) -> tuple[float, float]:
    """Return the weights of a negative and of a positive photo in the loss, 1 on average."""
    if not recipe.class_weights:
        return 1.0, 1.0
    positive = float(photos.targets.mean())
    return 0.5 / (1 - positive), 0.5 / positive
