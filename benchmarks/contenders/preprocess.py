"""What every peer does to a photo before the network sees it, with Pillow and NumPy or with torchvision."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

WEIGHTS = Path(os.environ.get("BENCH_WEIGHTS", "."))  # has the files of benchmarks.weights
CPUS = int(os.environ.get("BENCH_CPUS", "1"))
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def normalised(image: Image.Image) -> npt.NDArray[np.float32]:
    """Turn a photo into a network's input: float32 [3, 224, 224]."""
    pixels = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR), np.float32)
    return ((pixels / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)


def decoded(data: bytes) -> npt.NDArray[np.float32]:
    """Turn the bytes of a photo into a network's input: float32 [3, 224, 224]."""
    return normalised(Image.open(io.BytesIO(data)))


def onnx_session(threads: int) -> Any:
    """Open the float32 network in ONNX Runtime: images float32 [N, 3, 224, 224] to probability float32 [N]."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(WEIGHTS / "resnet18.onnx", options, providers=["CPUExecutionProvider"])


def torch_network() -> Any:
    """Open the float32 network in PyTorch, for one thread: float32 [N, 3, 224, 224] to logits float32 [N, 1]."""
    import torch
    from torchvision.models import resnet18

    torch.set_num_threads(1)  # with all CPUs in each of several processes their threads spin and wait for each other
    network = resnet18(num_classes=1)
    network.load_state_dict(torch.load(WEIGHTS / "resnet18.pt"))
    return network.eval()


def torch_transform() -> Any:
    """Return torchvision's transform of a photo for this network."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN.tolist(), STD.tolist()),
        ]
    )
