"""The weights that every trainer starts from, where torchvision looks for those it has downloaded."""

from pathlib import Path

import torch
from torchvision.models import ResNet18_Weights, resnet18

_SEED = 0


def write_start_weights(given: Path | None, torch_home: Path) -> Path:
    """Write a whole state_dict of a ResNet-18 into a TORCH_HOME, under torchvision's name, and return its path.

    Every tool that asks torchvision for its pretrained network then gets this file, with no download.

    Args:
        given: a state_dict with torchvision's names; tensors that it lacks start as torchvision makes them. None: the
            official weights.
        torch_home: the folder that becomes $TORCH_HOME of the trainers.
    """
    torch.manual_seed(_SEED)
    network = resnet18(weights=None)
    official = ResNet18_Weights.IMAGENET1K_V1
    if given:
        state = torch.load(given, map_location="cpu", weights_only=True)
    else:
        state = official.get_state_dict(progress=False, check_hash=True)
    odd = network.load_state_dict(state, strict=False).unexpected_keys
    if odd:
        raise ValueError(f"{given} has tensors that a ResNet-18 lacks: {', '.join(odd)}.")
    path = torch_home / "hub" / "checkpoints" / Path(official.url).name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path
