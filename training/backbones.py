"""torchvision's networks as a row of stages without their last layer, with ImageNet's weights or given ones."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from service.errors import SeeFoodError

Triple = tuple[float, float, float]

_IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # what torchvision's transform_input comes to


@dataclass(frozen=True)
class Backbone:
    """What has to be known of a network to train it.

    Attributes:
        size: side in pixels of the square that its ImageNet weights were made for.
        train_size, last_size: sides of the squares that it is fitted on, unless the recipe has others.
        normalisation: mean and deviation of each channel, of values in [0, 1].
        auxiliary: the names of its auxiliary exits, by the stage that they leave from.
        options: of torchvision's constructor.
    """

    size: int = 224
    train_size: int = 128
    last_size: int = 176
    normalisation: tuple[Triple, Triple] = _IMAGENET
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, bool] = field(default_factory=dict)


# Residual blocks start as the identity (Goyal et al. 2017, arXiv:1706.02677): one without weights adds no noise.
_RESNET = Backbone(options={"zero_init_residual": True})
BACKBONES = {
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "densenet121": Backbone(),
    "googlenet": Backbone(
        normalisation=_HALVES,
        auxiliary={"inception4a": "aux1", "inception4d": "aux2"},
        options={"init_weights": False},
    ),
    "inception_v3": Backbone(
        size=299,
        train_size=299,  # its auxiliary exit needs the whole grid
        last_size=299,
        normalisation=_HALVES,
        auxiliary={"Mixed_6e": "AuxLogits"},
        options={"init_weights": False},
    ),
}


@dataclass(frozen=True)
class Body:
    """A backbone ready to be given a head.

    Attributes:
        stages: in the order that a photo passes them.
        channels: that the last stage puts out.
        exits: the auxiliary exits with one unit each, by the stage that they leave from.
        absent: torchvision's names of the tensors that no weights were given for, in its order.
    """

    stages: "OrderedDict[str, nn.Module]"
    channels: int
    exits: dict[str, nn.Module]
    absent: list[str]


def build_body(name: str, weights: str) -> Body:
    """Make a backbone by torchvision's name.

    Args:
        name: a key of BACKBONES.
        weights: `imagenet` for torchvision's official download, `none` for a random start, else the path of a
            state_dict with torchvision's names, which may lack tensors; its last layers are not used.

    Raises:
        SeeFoodError: the weights can't be had, or do not fit the backbone.
    """
    backbone = BACKBONES[name]
    network = torchvision.models.get_model(name, weights=None, **backbone.options)
    absent = list(network.state_dict())
    if weights == "imagenet":
        network.load_state_dict(_official_weights(name))
        absent = []
    elif weights != "none":
        absent = _load(network, name, Path(weights))
    exits = {stage: _with_one_unit(network.get_submodule(way)) for stage, way in backbone.auxiliary.items()}
    if isinstance(network, torchvision.models.DenseNet):
        stages = OrderedDict([*network.features.named_children(), ("relu5", nn.ReLU(inplace=True))])
        last = network.classifier
    else:
        others = {"avgpool", "dropout", "fc", *backbone.auxiliary.values()}
        stages = OrderedDict((part, module) for part, module in network.named_children() if part not in others)
        last = network.fc
    heads = ("fc.", "classifier.", *(f"{way}.fc" for way in backbone.auxiliary.values()))
    return Body(stages, last.in_features, exits, [tensor for tensor in absent if not tensor.startswith(heads)])


def in_classifier(name: str, tensor: str) -> str:
    """Return what a tensor with torchvision's name is called in a Classifier."""
    for stage, way in BACKBONES[name].auxiliary.items():
        if tensor.startswith(f"{way}."):
            return f"auxiliary.{stage}{tensor.removeprefix(way)}"
    return tensor if tensor.startswith("features.") else f"features.{tensor}"


def _with_one_unit(way: nn.Module) -> nn.Module:
    name = "fc2" if hasattr(way, "fc2") else "fc"
    setattr(way, name, nn.Linear(getattr(way, name).in_features, 1))
    return way


def _official_weights(name: str) -> Mapping[str, Tensor]:
    try:
        weights: Mapping[str, Tensor] = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(
            check_hash=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise SeeFoodError(
            f"The official ImageNet weights of {name} can't be downloaded ({error}); give a state_dict of your own "
            "with --weights PATH, or start from nothing with --weights none."
        ) from error
    return weights


def _load(network: nn.Module, name: str, path: Path) -> list[str]:
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
    for tensor, value in given.items():
        if tensor not in own:
            raise SeeFoodError(f"The weights {path} have a tensor '{tensor}' that {name} does not have.")
        if value.shape != own[tensor].shape:
            raise SeeFoodError(
                f"The weights {path} have '{tensor}' of shape {list(value.shape)}; "
                f"{name} has it of shape {list(own[tensor].shape)}."
            )
        if not torch.isfinite(value).all():
            raise SeeFoodError(f"The weights {path} have values in '{tensor}' that are no numbers; name other weights.")
    network.load_state_dict(given, strict=False)
    return [tensor for tensor in own if tensor not in given and not tensor.endswith("num_batches_tracked")]
