"""Networks of torchvision and timm as a row of stages without their last layer, with ImageNet's or given weights."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import timm
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


_TIMM = "timm/"  # before the name of a network of timm
_HEADS = ("global_pool", "head_drop", "head", "classifier", "fc")  # what stands behind the last map in timm's networks
_ROW = re.compile(r"^(blocks|stages)\.(\d+)")  # parts of timm's networks that are themselves a row of stages

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
        absent: the provider's names of the tensors that no weights were given for, in its order.
    """

    stages: "OrderedDict[str, nn.Module]"
    channels: int
    exits: dict[str, nn.Module]
    absent: list[str]


def backbone(name: str) -> Backbone:
    """Return what has to be known of a network: a key of BACKBONES, or `timm/` and a name of timm.

    Size and normalisation of a timm network are those of its own pretrained configuration.

    Raises:
        SeeFoodError: there is no such network, or it is not made for square RGB photos.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    known = timm.is_model(name.removeprefix(_TIMM)) if name.startswith(_TIMM) else False
    config = timm.get_pretrained_cfg(name.removeprefix(_TIMM)) if known else None
    if config is None:
        raise SeeFoodError(
            f"There is no backbone '{name}'; name one of {', '.join(BACKBONES)}, or a network of timm as "
            "timm/tf_efficientnet_lite0."
        )
    channels, height, width = config.input_size
    if channels != 3 or height != width:
        raise SeeFoodError(f"The backbone {name} takes {channels} x {height} x {width} values, not a square RGB photo.")
    return Backbone(
        size=height,
        train_size=_in_steps(height * 5 / 7),  # much smaller ones shift what these networks say of whole photos
        last_size=_in_steps(height * 11 / 14),
        normalisation=(_triple(config.mean), _triple(config.std)),
    )


def build_body(name: str, weights: str) -> Body:
    """Make a backbone.

    Args:
        name: as in `backbone`.
        weights: `imagenet` for the provider's official download, `none` for a random start, else the path of a
            state_dict with the provider's names, which may lack tensors; its last layers are not used.

    Raises:
        SeeFoodError: there is no such network, its last features are not a map, or the weights can't be had or do not
            fit it.
    """
    described = backbone(name)
    network: Any
    if name.startswith(_TIMM):
        network = timm.create_model(name.removeprefix(_TIMM), pretrained=False)
    else:
        network = torchvision.models.get_model(name, weights=None, **described.options)
    absent = list(network.state_dict())
    if weights == "imagenet":
        network.load_state_dict(_official_weights(name))
        absent = []
    elif weights != "none":
        absent = _load(network, name, Path(weights))
    if name.startswith(_TIMM):
        stages = _timm_stages(network, name, described.size)
        kept = [tensor for tensor in absent if in_classifier(name, tensor).split(".")[1] in stages]
        return Body(stages, network.num_features, {}, kept)
    exits = {stage: _with_one_unit(network.get_submodule(way)) for stage, way in described.auxiliary.items()}
    if isinstance(network, torchvision.models.DenseNet):
        stages = OrderedDict([*network.features.named_children(), ("relu5", nn.ReLU(inplace=True))])
        last = network.classifier
    else:
        others = {"avgpool", "dropout", "fc", *described.auxiliary.values()}
        stages = OrderedDict((part, module) for part, module in network.named_children() if part not in others)
        last = network.fc
    heads = ("fc.", "classifier.", *(f"{way}.fc" for way in described.auxiliary.values()))
    return Body(stages, last.in_features, exits, [tensor for tensor in absent if not tensor.startswith(heads)])


def in_classifier(name: str, tensor: str) -> str:
    """Return what a tensor with the provider's name is called in a Classifier."""
    if name.startswith(_TIMM):
        return "features." + _ROW.sub(r"\1\2", tensor)
    for stage, way in BACKBONES[name].auxiliary.items():
        if tensor.startswith(f"{way}."):
            return f"auxiliary.{stage}{tensor.removeprefix(way)}"
    return tensor if tensor.startswith("features.") else f"features.{tensor}"


def _timm_stages(network: Any, name: str, size: int) -> "OrderedDict[str, nn.Module]":
    """Take a timm network apart up to its last map, and prove that the parts in a row are the whole."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for part, module in network.named_children():
        if part in _HEADS:
            break
        row = isinstance(module, nn.Sequential) and _ROW.match(f"{part}.0")
        stages |= {f"{part}{i}": each for i, each in module.named_children()} if row else {part: module}
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        photo = torch.rand(1, 3, size, size)
        try:
            maps = nn.Sequential(stages)(photo)
            same = torch.equal(maps, network.forward_features(photo)) and maps.shape[1:2] == (network.num_features,)
        except (RuntimeError, TypeError, NotImplementedError):
            same = False
    network.train(was_training)
    if not same or maps.ndim != 4:
        raise SeeFoodError(
            f"The backbone {name} is not a row of stages that ends in a map of features; choose a convolutional "
            "network such as timm/tf_efficientnet_lite0."
        )
    return stages


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = values
    return red, green, blue


def _in_steps(side: float, step: int = 16) -> int:
    return round(side / step) * step


def _with_one_unit(way: nn.Module) -> nn.Module:
    name = "fc2" if hasattr(way, "fc2") else "fc"
    setattr(way, name, nn.Linear(getattr(way, name).in_features, 1))
    return way


def _official_weights(name: str) -> Mapping[str, Tensor]:
    try:
        if name.startswith(_TIMM):
            return timm.create_model(name.removeprefix(_TIMM), pretrained=True).state_dict()
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
