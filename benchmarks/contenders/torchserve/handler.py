"""TorchServe's side of a request: photos in, probabilities out."""

import io
from typing import Any

import torch
from PIL import Image
from torchvision import transforms
from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):
    """What TorchServe's own classifier does, but for the sigmoid of one logit in place of a softmax."""

    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ]
    )

    def initialize(self, context: Any) -> None:
        """Load the model, for one thread."""
        # TorchServe's performance guide: with a worker for every core, more threads only get in each other's way.
        torch.set_num_threads(1)
        super().initialize(context)

    def preprocess(self, data: list[dict[str, Any]]) -> torch.Tensor:
        """Return a batch of pixels."""
        photos = [Image.open(io.BytesIO(row.get("data") or row["body"])).convert("RGB") for row in data]
        return torch.stack([self.transform(photo) for photo in photos])

    def postprocess(self, data: torch.Tensor) -> list[dict[str, float]]:
        """Return an answer for every photo."""
        return [{"probability": probability} for probability in data[:, 0].sigmoid().tolist()]
