"""Pretrained weights: the official ImageNet weights, or a state_dict file."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import timm
import torch
import torchvision
from torch import Tensor, nn

from service.errors import SeeFoodError


def load_weights(network: nn.Module, name: str, weights: str) -> list[str]:
    """Load weights, and return the tensors that have none, in the order of the network.

    Args:
        network: gets the weights.
        name: of the network.
        weights: `imagenet` for the official download, `none` for random weights, else the path of a state_dict.

    Raises:
        SeeFoodError: the weights are not available, or do not fit the network.
    """
    if weights == "none":
        return list(network.state_dict())
    if weights == "imagenet":
        load_official(network, name)
        return []
    return load_state_dict(network, name, Path(weights))


def load_official(network: nn.Module, name: str) -> None:
    """Load the official ImageNet weights of torchvision, or of timm for `timm/NAME`; raises SeeFoodError."""
    try:
        if name.startswith("timm/"):
            weights: Mapping[str, Tensor] = timm.create_model(name.removeprefix("timm/"), pretrained=True).state_dict()
        else:
            weights = torchvision.models.get_model_weights(name).DEFAULT.get_state_dict(check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise SeeFoodError(
            f"The official ImageNet weights of {name} can't be downloaded ({error}); give a state_dict file "
            "with --weights PATH, or start from random weights with --weights none."
        ) from error
    network.load_state_dict(weights)


def load_state_dict(network: nn.Module, name: str, path: Path) -> list[str]:
    """Load a state_dict file, which may lack tensors, and return the missing keys in the order of the network.

    Args:
        network: gets the weights.
        name: of the network, for error messages.
        path: a file written by `torch.save`.

    Raises:
        SeeFoodError: the file can't be read, or does not fit the network.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SeeFoodError(f"The weights {path} can't be read: {error.strerror}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SeeFoodError(f"The weights {path} are not a state_dict; save one with torch.save.") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise SeeFoodError(f"The weights {path} are not a state_dict, which maps names to tensors; save one.")
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
