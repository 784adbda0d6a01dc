"""The classifier: preprocessing, backbone and sigmoid head in one module; the trained module is the exported graph."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from service.errors import SeeFoodError
from training.model.backbones import Body, backbone_spec, build_body, classifier_key

Array = npt.NDArray[np.float32]

AXES = 64  # principal axes of the features with their own variance; all others share one variance


class Classifier(nn.Module):
    """A convolutional backbone with one sigmoid output and its own preprocessing.

    The head is a 1 x 1 convolution whose output is averaged over the grid. This is the same function as global average
    pooling and a linear layer, and its output before the average is the class activation map (Zhou et al. 2016,
    arXiv:1512.04150).

    Attributes:
        backbone: name of the backbone, as in `backbone_spec`.
        size: side S of the input square in pixels.
        features: stages of the backbone, in order.
        auxiliary: auxiliary heads, by the stage whose output they take; only the fit uses them.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor
    feature_mean: Tensor
    feature_axes: Tensor
    feature_deviation: Tensor

    def __init__(self, name: str, body: Body) -> None:
        super().__init__()
        spec = backbone_spec(name)
        self.backbone = name
        self.size = spec.size
        self.features = nn.Sequential(body.stages)
        self.auxiliary = nn.ModuleDict(body.auxiliary_heads)
        self.head = nn.Conv2d(body.channels, 1, kernel_size=1)
        nn.init.zeros_(self.head.weight)  # so that the first probabilities are 0.5 and the first gradients small
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        mean, std = spec.normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("feature_mean", torch.zeros(body.channels))
        self.register_buffer("feature_axes", torch.zeros(body.channels, AXES))
        self.register_buffer("feature_deviation", torch.ones(()))

    def set_calibration(self, temperature: float, bias: float) -> None:
        """Set probability = sigmoid(logit / temperature + bias) for the present logit; call it once."""
        with torch.no_grad():
            self.temperature.fill_(temperature)
            self.head.bias.add_(bias * temperature)  # type: ignore[union-attr]

    def set_gaussian(self, mean: Array, axes: Array, deviation: float) -> None:
        """Set the Gaussian of the training features, as returned by `training.model.features.fit_gaussian`."""
        self.feature_mean.copy_(torch.from_numpy(mean))
        self.feature_axes.copy_(torch.from_numpy(axes))
        self.feature_deviation.fill_(deviation)

    def freeze(self, last: str) -> None:
        """Stop training of the stages up to `last`, including their batch norms; call it after each `train()`.

        Raises:
            SeeFoodError: there is no such stage, or it is the last one.
        """
        names = [name for name, _ in self.features.named_children()]
        if last not in names[:-1]:
            raise SeeFoodError(
                f"The backbone {self.backbone} can't be frozen at '{last}'; name one of {', '.join(names[:-1])}."
            )
        for name in names[: names.index(last) + 1]:
            self.features.get_submodule(name).eval().requires_grad_(False)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, 3, S, S], normalised as the backbone's weights expect."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def pooled_features(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, channels]: the features, averaged over the grid."""
        return self.features(self.normalize(pixels)).mean((2, 3)).float()  # type: ignore[no-any-return]

    def logits_of_all_heads(self, pixels: Tensor) -> list[Tensor]:
        """Map uint8 [N, s, s, 3] RGB pixels to float32 [N] logits: of the head, then of each auxiliary head."""
        maps, logits = self.normalize(pixels), []
        for name, stage in self.features.named_children():
            maps = stage(maps)
            if name in self.auxiliary:
                logits.append(self.auxiliary[name](maps).squeeze(1).float())
        return [self.head(maps).mean((1, 2, 3)).float(), *logits]

    def heatmap(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to the class activation map, float32 [N, h, w]; its mean is the logit."""
        evidence: Tensor = self.head(self.features(self.normalize(pixels))).squeeze(1)
        return evidence.float()

    def familiarity(self, features: Tensor) -> Tensor:
        """Map pooled features, float32 [N, channels], to minus their distance from the training features, float32 [N].

        The unit is the standard deviation of a feature, so about -1 is usual; see `fit_gaussian` of `features.py`.
        """
        residual = features - self.feature_mean
        squared = (residual**2).sum(1) - ((residual @ self.feature_axes) ** 2).sum(1)
        return -torch.sqrt(torch.clamp(squared, min=0) / features.shape[1]) / self.feature_deviation

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 [N, S, S, 3] RGB pixels to the outputs of the ONNX file.

        Returns:
            Probability, float32 [N] in [0, 1]; heatmap, float32 [N, h, w]; familiarity, float32 [N].
        """
        maps = self.features(self.normalize(pixels))
        heatmap = self.head(maps).squeeze(1).float()
        probability = torch.sigmoid(heatmap.mean((1, 2)) / self.temperature)
        return probability, heatmap, self.familiarity(maps.mean((2, 3)).float())


def build_classifier(weights: str, name: str = "resnet18") -> tuple[Classifier, list[str]]:
    """Build a classifier; arguments and errors are those of `build_body`.

    Returns:
        The classifier, and the backbone's tensors without pretrained weights, by the names of torchvision or timm.
    """
    body = build_body(name, weights)
    return Classifier(name, body), body.missing_keys


def untrained_parameters(classifier: Classifier, missing_keys: list[str]) -> set[str]:
    """Return the names of the parameters without pretrained weights: missing ones, and those of every head."""
    names = {classifier_key(classifier.backbone, key) for key in missing_keys}
    auxiliary = tuple(f"auxiliary.{stage}.fc" for stage in backbone_spec(classifier.backbone).auxiliary)
    return {
        name
        for name, _ in classifier.named_parameters()
        if name in names or name.startswith("head.") or (auxiliary and name.startswith(auxiliary))
    }
