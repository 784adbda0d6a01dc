"""The weights that all trainers start from, in torchvision's download folder."""

from pathlib import Path

import torch
from torchvision.models import ResNet18_Weights, resnet18

_SEED = 0


def write_start_weights(given: Path | None, torch_home: Path) -> Path:
    """Write a complete state_dict of a ResNet-18 under torchvision's file name, and return its path.

    Tools that load torchvision's pretrained network with this TORCH_HOME read the file and download nothing.

    Args:
        given: a state_dict with torchvision's names; missing tensors get torchvision's initial values. None: the
            official weights.
        torch_home: the TORCH_HOME of the trainers.

    Raises:
        ValueError: the state_dict has other tensors.
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
        raise ValueError(f"{given} has tensors that ResNet-18 does not have: {', '.join(odd)}.")
    path = torch_home / "hub" / "checkpoints" / Path(official.url).name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path
