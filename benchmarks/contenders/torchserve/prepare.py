"""Make a model version's weights an archive that TorchServe loads.

    python benchmarks/contenders/torchserve/prepare.py models/VERSION/model.onnx STORE

It is the folder STORE that serve.py takes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import torch
from network import OneLogit
from onnx import numpy_helper
from torch import nn

HERE = Path(__file__).parent
NAME = "hotdog"


def load(model: Path) -> OneLogit:
    """Return the network of an ONNX file, its answers the file's own."""
    initializers = onnx.load(model).graph.initializer
    values = {value.name: torch.from_numpy(numpy_helper.to_array(value).copy()) for value in initializers}
    network = OneLogit().eval()
    batch_norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    with torch.no_grad():
        for name, module in network.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            module.weight.copy_(values[f"features.{name}.weight"])
            # The export folded each batch norm into the convolution before it: what is left for it is the bias.
            norm = batch_norms[f"{name[:-1]}1" if "downsample" in name else name.replace("conv", "bn")]
            norm.get_buffer("running_var").fill_(1 - norm.eps)
            norm.bias.copy_(values[f"features.{name}.weight_bias"])
        # The network ends at its logit, so that the temperature that calibrates it goes into its last layer.
        network.fc.weight.copy_(values["head.weight"].flatten(1) / values["temperature"])
        network.fc.bias.copy_(values["head.bias"] / values["temperature"])
    return network


def _settings(batch_size: int, delay: int) -> str:
    workers = len(os.sched_getaffinity(0))
    settings = {"minWorkers": workers, "maxWorkers": workers, "batchSize": batch_size, "maxBatchDelay": delay}
    return "".join(f"{name}: {value}\n" for name, value in settings.items())


def main() -> None:
    """Write the archive into the store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--max-batch-delay", type=int, default=5, help="Milliseconds.")
    arguments = parser.parse_args()
    arguments.store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        weights, settings = Path(folder, "weights.pt"), Path(folder, "settings.yaml")
        torch.save(load(arguments.model).state_dict(), weights)
        settings.write_text(_settings(arguments.batch_size, arguments.max_batch_delay))
        options = {
            "model-name": NAME,
            "version": "1",
            "model-file": HERE / "network.py",
            "serialized-file": weights,
            "handler": HERE / "handler.py",
            "config-file": settings,
            "export-path": arguments.store,
        }
        command = [Path(sys.executable).with_name("torch-model-archiver"), "--force"]
        subprocess.run([*command, *(f"--{name}={value}" for name, value in options.items())], check=True)


if __name__ == "__main__":
    main()
