"""One network for everybody: the shipped model's weights as a torchvision state_dict and as a plain ONNX export.

    python -m benchmarks.weights FOLDER

The registry's float32 file has its batch norms folded into the convolutions. Here they are norms again, that change
nothing but add the bias, so that PyTorch does the work that it does for any ResNet-18.
"""

from pathlib import Path

import click
import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from service.model import open_model

STATE, ONNX = "resnet18.pt", "resnet18.onnx"


class Hotdog(nn.Module):
    """torchvision's ResNet-18 with one sigmoid unit: normalised float32 [N, 3, S, S] to probability, float32 [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = resnet18(num_classes=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return P(hotdog)."""
        return torch.sigmoid(self.network(images)).squeeze(1)


def state_of(path: Path) -> dict[str, Tensor]:
    """Read a seefood model's float32 file as the state_dict of torchvision's resnet18 with one output."""
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
    norm = "1" if last == "0" else last.replace("conv", "bn")  # a shortcut is numbered: 0 convolves, 1 normalises
    return f"{stem}.{norm}" if stem else norm


def prepare(models: Path, folder: Path) -> None:
    """Write STATE and ONNX into a folder, from the current version of a registry."""
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


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--models", default=Path("models"), type=click.Path(path_type=Path))
def main(folder: Path, models: Path) -> None:
    """Write the weights, and how far they are from the model they were read from."""
    prepare(models, folder)
    import onnxruntime as ort

    model = open_model(models, device="cpu", precision="float32")
    pixels = np.random.default_rng(0).integers(0, 256, (4, model.size, model.size, 3), np.uint8)
    images = (pixels.transpose(0, 3, 1, 2) / np.float32(255) - MEAN) / STD
    other = ort.InferenceSession(folder / ONNX).run(None, {"images": images})[0]
    print(f"largest difference in probability: {np.abs(other - model.run(pixels)[0]).max():.1e}")


MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


if __name__ == "__main__":
    main()
