"""Preprocessing and models of the peers."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

WEIGHTS = Path(os.environ.get("BENCH_WEIGHTS", "."))  # files of benchmarks.serving.weights
CPUS = int(os.environ.get("BENCH_CPUS", "1"))
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def normalised(image: Image.Image) -> npt.NDArray[np.float32]:
    """Return a photo as input of the network: float32 [3, 224, 224]."""
    pixels = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    return ((pixels / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)


def decoded(data: bytes) -> npt.NDArray[np.float32]:
    """Decode a photo to the input of the network: float32 [3, 224, 224]."""
    return normalised(Image.open(io.BytesIO(data)))


def onnx_session(threads: int) -> Any:
    """Open the float32 network in ONNX Runtime: from float32 [N, 3, 224, 224] to probabilities, float32 [N]."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(WEIGHTS / "resnet18.onnx", options, providers=["CPUExecutionProvider"])


def torch_network() -> Any:
    """Open the float32 network in PyTorch for one thread: from float32 [N, 3, 224, 224] to logits, float32 [N, 1]."""
    import torch
    from torchvision.models import resnet18

    torch.set_num_threads(1)  # threads of several processes would wait for each other
    network = resnet18(num_classes=1)
    network.load_state_dict(torch.load(WEIGHTS / "resnet18.pt"))
    return network.eval()


def torch_transform() -> Any:
    """Return the torchvision transform of a photo for this network."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN.tolist(), STD.tolist()),
        ]
    )
