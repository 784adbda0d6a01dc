"""Backbone + sigmoid head + preprocessing: the network that is trained is the graph that is exported."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from service.errors import SeeFoodError

BACKBONE = "resnet18"
SIZE = 224  # px: the side of the square that the backbone's ImageNet weights were made for
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB, of values in [0, 1]


class Classifier(nn.Module):
    """A convolutional backbone under one sigmoid unit, with its own preprocessing.

    The last layer is a 1 x 1 convolution whose output is averaged over the grid: the same function as global average
    pooling followed by one linear unit, with the class activation map (Zhou et al. 2016, arXiv:1512.04150) on the way.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(self, features: nn.Module, channels: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Conv2d(channels, 1, kernel_size=1)
        nn.init.zeros_(self.head.weight)  # so that the first verdicts are 0.5, and the first gradients small
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255)
        self.register_buffer("temperature", torch.ones(()))

    def heatmap(self, pixels: Tensor) -> Tensor:
        """Map uint8 [N, S, S, 3] RGB pixels to float32 [N, h, w], the evidence for the positive class at each place."""
        images = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        evidence: Tensor = self.head(self.features(images)).squeeze(1)
        return evidence.float()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 [N, S, S, 3] RGB pixels to probability, float32 [N] in [0, 1], and heatmap, float32 [N, h, w]."""
        heatmap = self.heatmap(pixels)
        return torch.sigmoid(heatmap.mean((1, 2)) / self.temperature), heatmap


def build(weights: str) -> tuple[Classifier, list[str]]:
    """Make a classifier, and list the tensors of its backbone that no weights were given for.

    Args:
        weights: `imagenet` for torchvision's official download, `none` for a random start, else the path of a
            state_dict with torchvision's names, which may lack tensors; its last layer is not used.

    Raises:
        SeeFoodError: the weights can't be had, or do not fit the backbone.
    """
    # Residual blocks start as the identity (Goyal et al. 2017, arXiv:1706.02677): one without weights adds no noise.
    resnet = torchvision.models.resnet18(zero_init_residual=True)
    absent = list(resnet.state_dict())
    if weights == "imagenet":
        resnet.load_state_dict(_official_weights())
        absent = []
    elif weights != "none":
        absent = _load(resnet, Path(weights))
    stages = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    features = nn.Sequential(OrderedDict((name, resnet.get_submodule(name)) for name in stages))
    return Classifier(features, resnet.fc.in_features), [name for name in absent if not name.startswith("fc.")]


def _official_weights() -> Mapping[str, Tensor]:
    try:
        weights: Mapping[str, Tensor] = torchvision.models.ResNet18_Weights.DEFAULT.get_state_dict(check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise SeeFoodError(
            f"The official ImageNet weights can't be downloaded ({error}); give a state_dict of your own with "
            "--weights PATH, or start from nothing with --weights none."
        ) from error
    return weights


def _load(network: nn.Module, path: Path) -> list[str]:
    """Fill a network from a state_dict file and list, in the network's order, the tensors that the file lacks."""
    try:
        given = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SeeFoodError(f"The weights {path} can't be read: {error.strerror}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SeeFoodError(f"The weights {path} are not a state_dict saved by torch.save.") from error
    if not isinstance(given, Mapping) or not all(isinstance(value, Tensor) for value in given.values()):
        raise SeeFoodError(f"The weights {path} are not a state_dict: a mapping of names to tensors.")
    own = network.state_dict()
    for name, value in given.items():
        if name not in own:
            raise SeeFoodError(f"The weights {path} have a tensor '{name}' that {BACKBONE} does not have.")
        if value.shape != own[name].shape:
            raise SeeFoodError(
                f"The weights {path} have '{name}' of shape {list(value.shape)}; "
                f"{BACKBONE} has it of shape {list(own[name].shape)}."
            )
    network.load_state_dict(given, strict=False)
    return [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
