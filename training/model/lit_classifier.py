"""The LightningModule of a fit: loss, validation metrics, learning rates and schedule."""

import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from service.errors import SeeFoodError
from training.config import Hyperparameters
from training.data.dataset import Example
from training.model.classifier import Classifier, untrained_parameters

_log = logging.getLogger(__name__)


class LitClassifier(L.LightningModule):
    """Binary cross-entropy on the logit; AdamW with lower rates for earlier stages; warm-up, then cosine decay.

    Args:
        network: the classifier to train.
        missing_keys: tensors of its backbone without pretrained weights.
        hyperparameters: of the fit.
        head_is_probe: whether the head is a linear probe of the features; it then learns at the rate of the last stage.
    """

    def __init__(
        self,
        network: Classifier,
        missing_keys: list[str],
        hyperparameters: Hyperparameters,
        *,
        head_is_probe: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.untrained = untrained_parameters(network, missing_keys)
        if head_is_probe:  # the rate of an untrained layer would destroy the probe
            self.untrained -= {"head.weight", "head.bias"}
        self.hyperparameters = hyperparameters
        # The statistics of small augmented batches are worse than those of the pretraining.
        self.keep_batch_norm = not missing_keys
        if hyperparameters.freeze:
            network.freeze(hyperparameters.freeze)
        self.accuracy = BinaryAccuracy()
        self.auc = BinaryAUROC()
        self.loss = MeanMetric()  # Lightning's own mean is wrong if processes have different numbers of photos
        self.rows: list[dict[str, float]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, s, s, 3] pixels to float32 [N] logits."""
        return self.network.heatmap(pixels).mean((1, 2))

    def training_step(self, batch: Example, _: int) -> Tensor:
        """Return the loss of one batch of pixels and targets."""
        pixels, targets = batch
        logits, *auxiliary_logits = self.network.logits_of_all_heads(pixels)
        loss = binary_cross_entropy_with_logits(logits, targets)
        for auxiliary in auxiliary_logits:
            loss = loss + self.hyperparameters.auxiliary_weight * binary_cross_entropy_with_logits(auxiliary, targets)
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_train_epoch_start(self) -> None:
        """Seed dropout by the epoch, so that a resumed fit equals an uninterrupted one; freeze stages and norms."""
        torch.manual_seed(self.current_epoch)
        if self.hyperparameters.freeze:
            self.network.freeze(self.hyperparameters.freeze)
        for module in self.network.features.modules() if self.keep_batch_norm else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def on_validation_epoch_start(self) -> None:
        """Raise SeeFoodError if a weight is infinite or NaN."""
        if not all(torch.isfinite(weight).all() for weight in self.network.state_dict().values()):
            raise SeeFoodError(
                f"The weights are infinite or NaN numbers after epoch {self.current_epoch + 1}; "
                "use other initial weights, or check the photos with seefood check."
            )

    def validation_step(self, batch: Example, _: int) -> None:
        """Log loss, accuracy and area under the ROC curve, over the epoch and all processes."""
        pixels, targets = batch
        logits = self(pixels)
        self.accuracy(logits, targets)
        self.auc(logits, targets.int())
        self.loss(binary_cross_entropy_with_logits(logits, targets), len(targets))
        metrics: dict[str, Any] = {"val_loss": self.loss, "val_accuracy": self.accuracy, "val_auc": self.auc}
        self.log_dict(metrics, prog_bar=True, on_epoch=True)

    def on_train_epoch_end(self) -> None:
        """Keep the metrics of the epoch, and log them."""
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.rows.append({"epoch": self.current_epoch, **metrics})
        if "val_auc" in metrics:
            _log.info(
                "Epoch %d of %d: loss %.3f; on the validation photos %.3f, ROC AUC %.3f.",
                self.current_epoch + 1,
                self.hyperparameters.epochs,
                metrics["loss"],
                metrics["val_loss"],
                metrics["val_auc"],
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the metrics of all epochs."""
        checkpoint["rows"] = self.rows

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load the metrics of the epochs before an interruption."""
        self.rows = checkpoint["rows"]

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        """Return AdamW with a learning rate for each stage, and the one-cycle schedule of all of them."""
        groups: dict[float, list[Tensor]] = {}
        for name, weight in self.network.named_parameters():
            if weight.requires_grad:
                groups.setdefault(self.learning_rate(name), []).append(weight)
        optimizer = torch.optim.AdamW(
            [{"params": weights, "lr": rate} for rate, weights in groups.items()],
            weight_decay=self.hyperparameters.weight_decay,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=list(groups),
            total_steps=steps,
            pct_start=max(self.hyperparameters.warmup, min(0.75, 1.5 / steps)),  # a warm-up of one step divides by zero
            cycle_momentum=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate(self, name: str) -> float:
        """Return the highest learning rate of a parameter; it is lower for earlier pretrained stages."""
        settings = self.hyperparameters
        if name in self.untrained:
            return settings.learning_rate
        if name.startswith("head."):
            return settings.learning_rate * settings.last_stage_rate
        stages = [stage for stage, module in self.network.features.named_children() if list(module.parameters())]
        depth = stages.index(name.split(".")[1]) / max(1, len(stages) - 1)
        fraction: float = settings.first_stage_rate ** (1 - depth) * settings.last_stage_rate**depth
        return settings.learning_rate * fraction
