"""Export a SeeFood model for the peers: as a torchvision state_dict and as a plain ONNX file.

In the float32 file of the registry, the batch norms are folded into the convolutions. The export has batch norms again,
which only add the bias, so that PyTorch does the same work as for any ResNet-18.
"""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from service.model import open_model

STATE, ONNX = "resnet18.pt", "resnet18.onnx"


def open_network(path: Path) -> nn.Sequential:
    """Read a SeeFood model as torchvision's ResNet-18 with a sigmoid: from float32 [N, 3, S, S] to float32 [N]."""
    network = resnet18(num_classes=1)
    network.load_state_dict(_state_dict(path))
    return nn.Sequential(network, nn.Flatten(0), nn.Sigmoid()).eval()


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Read the float32 file of a SeeFood model as the state_dict of torchvision's resnet18 with one output."""
    tensors = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(path).graph.initializer
    }
    state = {}
    for name, weight in tensors.items():
        if not (name.startswith("features.") and name.endswith(".weight")):
            continue
        convolution = name.removeprefix("features.").removesuffix(".weight")
        norm = _norm_of(convolution)
        state[f"{convolution}.weight"] = weight
        state[f"{norm}.bias"] = tensors[f"{name}_bias"]
        channels = len(weight)
        state[f"{norm}.weight"] = torch.ones(channels)
        state[f"{norm}.running_mean"] = torch.zeros(channels)
        state[f"{norm}.running_var"] = torch.full((channels,), 1 - nn.BatchNorm2d(1).eps)
    temperature = tensors["temperature"]
    state["fc.weight"] = tensors["head.weight"].flatten(1) / temperature
    state["fc.bias"] = tensors["head.bias"] / temperature
    return state


def _norm_of(convolution: str) -> str:
    stem, last = convolution.rsplit(".", 1) if "." in convolution else ("", convolution)
    norm = "1" if last == "0" else last.replace("conv", "bn")  # in a shortcut, 0 is the convolution and 1 the norm
    return f"{stem}.{norm}" if stem else norm


def prepare(models: Path, folder: Path) -> None:
    """Write the files STATE and ONNX into a folder, from the current version of a registry."""
    folder.mkdir(parents=True, exist_ok=True)
    network = open_network(open_model(models, device="cpu", precision="float32").path)
    torch.save(network[0].state_dict(), folder / STATE)
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 224, 224),),
        folder / ONNX,
        input_names=["images"],
        output_names=["probability"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        dynamo=True,
        verbose=False,
        external_data=False,
    )
