"""Export a SeeFood model for the peers: as a torchvision state_dict and as a plain ONNX file.

In the float32 file of the registry, the batch norms are folded into the convolutions. The export has batch norms again,
which only add the bias, so that PyTorch does the same work as for any ResNet-18.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from service.model import open_model

STATE, ONNX = "resnet18.pt", "resnet18.onnx"
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


class Hotdog(nn.Module):
    """torchvision's ResNet-18 with one sigmoid unit: from float32 [N, 3, S, S], normalised, to float32 [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = resnet18(num_classes=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return P(hotdog)."""
        return torch.sigmoid(self.network(images)).squeeze(1)


def state_of(path: Path) -> dict[str, Tensor]:
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
    network = Hotdog().eval()
    network.network.load_state_dict(state_of(open_model(models, device="cpu", precision="float32").path), strict=False)
    torch.save(network.network.state_dict(), folder / STATE)
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 224, 224),),
        folder / ONNX,
        input_names=["images"],
        output_names=["probability"],
        dynamic_shapes={"images": {0: torch.export.Dim("N")}},
        dynamo=True,
        verbose=False,
        external_data=False,
    )
