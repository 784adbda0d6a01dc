"""Backbone + sigmoid head + preprocessing: the network that is trained is the graph that is exported."""

import torch
from torch import Tensor, nn

from service.errors import SeeFoodError
from training.model.backbones import Body, backbone, build_body, in_classifier
from training.model.familiarity import AXES, Array


class Classifier(nn.Module):
    """A convolutional backbone under one sigmoid unit, with its own preprocessing.

    The last layer is a 1 x 1 convolution whose output is averaged over the grid: the same function as global average
    pooling followed by one linear unit, with the class activation map (Zhou et al. 2016, arXiv:1512.04150) on the way.

    Attributes:
        backbone: the network's name, as `backbones.backbone` takes it.
        size: side S of the square it takes, in pixels.
        features: the backbone's stages, in order.
        auxiliary: exits that only the fit uses, by the stage that they leave from.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor
    usual: Tensor
    axes: Tensor
    deviation: Tensor

    def __init__(self, name: str, body: Body) -> None:
        super().__init__()
        described = backbone(name)
        self.backbone = name
        self.size = described.size
        self.features = nn.Sequential(body.stages)
        self.auxiliary = nn.ModuleDict(body.exits)
        self.head = nn.Conv2d(body.channels, 1, kernel_size=1)
        nn.init.zeros_(self.head.weight)  # so that the first verdicts are 0.5, and the first gradients small
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        mean, std = described.normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("usual", torch.zeros(body.channels))
        self.register_buffer("axes", torch.zeros(body.channels, AXES))
        self.register_buffer("deviation", torch.ones(()))

    def calibrate(self, temperature: float, bias: float) -> None:
        """Make probability = sigmoid(logit / temperature + bias) of the logit so far, with the bias in the head's."""
        with torch.no_grad():
            self.temperature.fill_(temperature)
            self.head.bias.add_(bias * temperature)  # type: ignore[union-attr]

    def remember(self, usual: Array, axes: Array, deviation: float) -> None:
        """Take what `familiarity.fit_gaussian` found of the training photos' features."""
        self.usual.copy_(torch.from_numpy(usual))
        self.axes.copy_(torch.from_numpy(axes))
        self.deviation.fill_(deviation)

    def freeze(self, last: str) -> None:
        """Keep the stages up to this one as they are, batch norms included; call it after each `train()`.

        Raises:
            SeeFoodError: there is no such stage, or none would be left to learn.
        """
        names = [name for name, _ in self.features.named_children()]
        if last not in names[:-1]:
            raise SeeFoodError(
                f"The backbone {self.backbone} can't be frozen at '{last}'; name one of {', '.join(names[:-1])}."
            )
        for name in names[: names.index(last) + 1]:
            self.features.get_submodule(name).eval().requires_grad_(False)

    def images(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, 3, S, S], normalised as the backbone's weights expect."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def pooled(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, channels]: the features, averaged over the grid."""
        return self.features(self.images(pixels)).mean((2, 3)).float()  # type: ignore[no-any-return]

    def exits(self, pixels: Tensor) -> list[Tensor]:
        """Map uint8 [N, s, s, 3] RGB pixels to float32 [N] logits: the head's, then those of the auxiliary exits."""
        maps, logits = self.images(pixels), []
        for name, stage in self.features.named_children():
            maps = stage(maps)
            if name in self.auxiliary:
                logits.append(self.auxiliary[name](maps).squeeze(1).float())
        return [self.head(maps).mean((1, 2, 3)).float(), *logits]

    def heatmap(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, h, w], the evidence for the positive class at each place."""
        evidence: Tensor = self.head(self.features(self.images(pixels))).squeeze(1)
        return evidence.float()

    def familiarity(self, features: Tensor) -> Tensor:
        """Map pooled features, float32 [N, channels], to minus their distance from the training photos', float32 [N].

        The distance is in standard deviations of a feature, so that about -1 is usual; see `familiarity.fit_gaussian`.
        """
        apart = features - self.usual
        squared = (apart**2).sum(1) - ((apart @ self.axes) ** 2).sum(1)
        return -torch.sqrt(torch.clamp(squared, min=0) / features.shape[1]) / self.deviation

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map uint8 [N, S, S, 3] RGB pixels to the outputs of the ONNX file.

        Returns:
            Probability, float32 [N] in [0, 1]; heatmap, float32 [N, h, w]; familiarity, float32 [N].
        """
        maps = self.features(self.images(pixels))
        heatmap = self.head(maps).squeeze(1).float()
        probability = torch.sigmoid(heatmap.mean((1, 2)) / self.temperature)
        return probability, heatmap, self.familiarity(maps.mean((2, 3)).float())


def build(weights: str, name: str = "resnet18") -> tuple[Classifier, list[str]]:
    """Make a classifier, and list the tensors of its backbone that no weights were given for, by the provider's names.

    Args and Raises: as for `build_body`.
    """
    body = build_body(name, weights)
    return Classifier(name, body), body.absent


def fresh_parameters(classifier: Classifier, absent: list[str]) -> set[str]:
    """Return the names of the classifier's parameters that start from nothing: absent ones, and every last layer."""
    names = {in_classifier(classifier.backbone, tensor) for tensor in absent}
    exits = tuple(f"auxiliary.{stage}.fc" for stage in backbone(classifier.backbone).auxiliary)
    return {
        name
        for name, _ in classifier.named_parameters()
        if name in names or name.startswith("head.") or (exits and name.startswith(exits))
    }
