"""LitServe with PyTorch, as its guide to image classification has it: one worker a CPU, a file in a form."""

import sys

import litserve as ls
import torch
from fastapi import Request
from PIL import Image

from benchmarks.contenders.preprocess import CPUS, torch_network, torch_transform


class Hotdog(ls.LitAPI):
    """Decode, classify, encode."""

    def setup(self, device: str) -> None:
        """Open the network in each worker."""
        self.network, self.transform = torch_network().to(device), torch_transform()

    def decode_request(self, request: Request) -> torch.Tensor:
        """Turn the form's file into images [1, 3, 224, 224]."""
        image = Image.open(request["content"].file).convert("RGB")
        return self.transform(image).unsqueeze(0).to(self.device)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Return P(hotdog) [1]."""
        with torch.inference_mode():
            return torch.sigmoid(self.network(images)).squeeze(1)

    def encode_response(self, output: torch.Tensor) -> dict[str, float]:
        """Return the answer."""
        return {"probability": output.item()}


if __name__ == "__main__":
    server = ls.LitServer(Hotdog(), accelerator="cpu", workers_per_device=CPUS)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
