"""Backbones: networks of torchvision and timm with their weights, as a sequence of stages without the last layer."""

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
_HALVES: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # the effect of torchvision's transform_input


@dataclass(frozen=True)
class BackboneSpec:
    """Facts about a backbone.

    Attributes:
        size: side in pixels of the input square of its ImageNet weights.
        train_size, final_size: default sides in pixels of the training squares, as in `Hyperparameters`.
        normalisation: mean and standard deviation of each channel, for values in [0, 1].
        auxiliary: names of its auxiliary heads, by the stage whose output they take.
        options: for torchvision's constructor.
    """

    size: int = 224
    train_size: int = 128
    final_size: int = 176
    normalisation: tuple[Triple, Triple] = _IMAGENET
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, bool] = field(default_factory=dict)


_TIMM = "timm/"  # prefix of the names of timm's networks
_HEADS = ("global_pool", "head_drop", "head", "classifier", "fc")  # modules after the last feature map in timm
_SEQUENCE = re.compile(r"^(blocks|stages)\.(\d+)")  # modules of timm that are themselves sequences of stages

# Residual blocks without weights start as the identity and add no noise (Goyal et al. 2017, arXiv:1706.02677).
_RESNET = BackboneSpec(options={"zero_init_residual": True})
BACKBONES = {
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "densenet121": BackboneSpec(),
    "googlenet": BackboneSpec(
        normalisation=_HALVES,
        auxiliary={"inception4a": "aux1", "inception4d": "aux2"},
        options={"init_weights": False},
    ),
    "inception_v3": BackboneSpec(
        size=299,
        train_size=299,  # its auxiliary head needs the full grid
        final_size=299,
        normalisation=_HALVES,
        auxiliary={"Mixed_6e": "AuxLogits"},
        options={"init_weights": False},
    ),
}


@dataclass(frozen=True)
class Body:
    """A backbone without a head.

    Attributes:
        stages: in the order of the forward pass.
        channels: output channels of the last stage.
        auxiliary_heads: with one output each, by the stage whose output they take.
        missing_keys: tensors without pretrained weights, by the names and in the order of the library.
    """

    stages: "OrderedDict[str, nn.Module]"
    channels: int
    auxiliary_heads: dict[str, nn.Module]
    missing_keys: list[str]


def backbone_spec(name: str) -> BackboneSpec:
    """Return the facts about a backbone.

    Args:
        name: a key of BACKBONES, or `timm/` and the name of a network of timm; size and normalisation are then those of
            its pretrained configuration.

    Raises:
        SeeFoodError: there is no such network, or its input is not a square RGB photo.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    known = timm.is_model(name.removeprefix(_TIMM)) if name.startswith(_TIMM) else False
    config = timm.get_pretrained_cfg(name.removeprefix(_TIMM)) if known else None
    if config is None:
        raise SeeFoodError(
            f"There is no backbone '{name}'; name one of {', '.join(BACKBONES)}, or a network of timm such as "
            "timm/tf_efficientnet_lite0."
        )
    channels, height, width = config.input_size
    if channels != 3 or height != width:
        raise SeeFoodError(
            f"The backbone {name} takes {channels} x {height} x {width} values instead of a square RGB photo; "
            "choose another."
        )
    return BackboneSpec(
        size=height,
        train_size=_multiple_of_16(height * 5 / 7),  # much smaller squares shift the logits of whole photos
        final_size=_multiple_of_16(height * 11 / 14),
        normalisation=(_triple(config.mean), _triple(config.std)),
    )


def build_body(name: str, weights: str) -> Body:
    """Build a backbone and load its weights.

    Args:
        name: as in `backbone_spec`.
        weights: `imagenet` for the official download, `none` for random weights, else the path of a state_dict with the
            names of torchvision or timm. It may lack tensors, and its last layers are not used.

    Raises:
        SeeFoodError: there is no such network, its last features are not a map, or the weights are not available or do
            not fit.
    """
    spec = backbone_spec(name)
    network: Any
    if name.startswith(_TIMM):
        network = timm.create_model(name.removeprefix(_TIMM), pretrained=False)
    else:
        network = torchvision.models.get_model(name, weights=None, **spec.options)
    missing = _load_weights(network, name, weights)
    if name.startswith(_TIMM):
        stages = _timm_stages(network, name, spec.size)
        kept = [key for key in missing if classifier_key(name, key).split(".")[1] in stages]
        return Body(stages, network.num_features, {}, kept)
    auxiliary = {stage: _with_one_output(network.get_submodule(head)) for stage, head in spec.auxiliary.items()}
    if isinstance(network, torchvision.models.DenseNet):
        stages = OrderedDict([*network.features.named_children(), ("relu5", nn.ReLU(inplace=True))])
        last = network.classifier
    else:
        others = {"avgpool", "dropout", "fc", *spec.auxiliary.values()}
        stages = OrderedDict((part, module) for part, module in network.named_children() if part not in others)
        last = network.fc
    heads = ("fc.", "classifier.", *(f"{head}.fc" for head in spec.auxiliary.values()))
    return Body(stages, last.in_features, auxiliary, [key for key in missing if not key.startswith(heads)])


def classifier_key(name: str, key: str) -> str:
    """Return the name in a Classifier of a tensor of torchvision or timm."""
    if name.startswith(_TIMM):
        return "features." + _SEQUENCE.sub(r"\1\2", key)
    for stage, head in BACKBONES[name].auxiliary.items():
        if key.startswith(f"{head}."):
            return f"auxiliary.{stage}{key.removeprefix(head)}"
    return key if key.startswith("features.") else f"features.{key}"


def _load_weights(network: nn.Module, name: str, weights: str) -> list[str]:
    """Load weights as for `build_body`, and return the tensors that have none, in the order of the network."""
    if weights == "none":
        return list(network.state_dict())
    if weights == "imagenet":
        _load_official(network, name)
        return []
    return _load_state_dict(network, name, Path(weights))


def _load_official(network: nn.Module, name: str) -> None:
    """Load the official ImageNet weights of torchvision or timm; raises SeeFoodError."""
    try:
        weights: Mapping[str, Tensor]
        if name.startswith(_TIMM):
            weights = timm.create_model(name.removeprefix(_TIMM), pretrained=True).state_dict()
        elif BACKBONES[name].auxiliary:  # get_model would remove their heads
            weights = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(check_hash=True)
        else:  # the file of densenet121 has other names than the network
            weights = torchvision.models.get_model(name, weights="DEFAULT").state_dict()
    except (URLError, OSError, RuntimeError) as error:
        raise SeeFoodError(
            f"The official ImageNet weights of {name} can't be downloaded ({error}); give a state_dict file "
            "with --weights PATH, or start from random weights with --weights none."
        ) from error
    network.load_state_dict(weights)


def _load_state_dict(network: nn.Module, name: str, path: Path) -> list[str]:
    """Load a state_dict file, which may lack tensors, and return the missing keys; raises SeeFoodError."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SeeFoodError(f"The weights {path} can't be read: {error.strerror}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SeeFoodError(f"The weights {path} are not a state_dict; save one with torch.save.") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise SeeFoodError(f"The weights {path} are not a state_dict, which maps names to tensors; save one.")
    # The last layers are replaced, so a file of another task may have others of any shape.
    parts = (*_HEADS, *(f"{head}.{last}" for head in backbone_spec(name).auxiliary.values() for last in ("fc", "fc2")))
    replaced = tuple(f"{part}." for part in parts)
    weights = {key: value for key, value in weights.items() if not str(key).startswith(replaced)}
    own = network.state_dict()
    for key, value in weights.items():
        if key not in own:
            raise SeeFoodError(f"The weights {path} have a tensor '{key}' that {name} does not have.")
        if value.shape != own[key].shape:
            raise SeeFoodError(
                f"The weights {path} have '{key}' of shape {list(value.shape)}; "
                f"{name} has it of shape {list(own[key].shape)}."
            )
        if not torch.isfinite(value).all():
            raise SeeFoodError(f"The weights {path} have infinite or NaN numbers in '{key}'; use other weights.")
    network.load_state_dict(weights, strict=False)
    return [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]


def _timm_stages(network: Any, name: str, size: int) -> "OrderedDict[str, nn.Module]":
    """Split a timm network into stages up to its last feature map, and check that they compute the same features."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for part, module in network.named_children():
        if part in _HEADS:
            break
        is_sequence = isinstance(module, nn.Sequential) and _SEQUENCE.match(f"{part}.0")
        stages |= {f"{part}{i}": each for i, each in module.named_children()} if is_sequence else {part: module}
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
            f"The backbone {name} is not a sequence of stages that ends in a feature map; choose a convolutional "
            "network such as timm/tf_efficientnet_lite0."
        )
    return stages


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = values
    return red, green, blue


def _multiple_of_16(side: float) -> int:
    return round(side / 16) * 16


def _with_one_output(head: nn.Module) -> nn.Module:
    name = "fc2" if hasattr(head, "fc2") else "fc"
    setattr(head, name, nn.Linear(getattr(head, name).in_features, 1))
    return head
