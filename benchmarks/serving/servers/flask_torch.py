"""Flask and PyTorch, as most hotdog projects use them: a global model, a form with a file, one photo at a time."""

import torch
from flask import Flask, request
from flask.typing import ResponseReturnValue
from PIL import Image

from benchmarks.serving.servers.preprocess import torch_network, torch_transform

app = Flask(__name__)
network, transform = torch_network(), torch_transform()


@app.post("/predict")
def predict() -> ResponseReturnValue:
    """Classify one photo."""
    image = Image.open(request.files["file"]).convert("RGB")
    with torch.no_grad():
        logit = network(transform(image).unsqueeze(0))
    return {"probability": torch.sigmoid(logit).item()}
