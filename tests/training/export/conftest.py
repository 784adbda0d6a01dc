"""Fixtures of the tests of the export."""

from pathlib import Path

import numpy as np
import pytest
import torch

from service.photo import Pixels
from tests.fixtures.drawing import LABELS, draw
from training.export.onnx_export import PARITY_PHOTOS, export_float32, export_int8
from training.model.classifier import Classifier, build_classifier


@pytest.fixture(scope="package")
def photos() -> Pixels:
    """Return drawn photos, uint8 [64, S, S, 3]; every second one is a hotdog."""
    return np.stack([np.asarray(draw(LABELS[i % 2], i, (224, 224))) for i in range(PARITY_PHOTOS)])


@pytest.fixture(scope="package")
def network() -> Classifier:
    """Return an untrained classifier with a random head."""
    torch.manual_seed(0)
    network, _ = build_classifier("none")
    torch.nn.init.normal_(network.head.weight)
    network.temperature.fill_(1.5)
    return network


@pytest.fixture(scope="package")
def float32(network: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_float32(network, path)
    return path


@pytest.fixture(scope="package")
def int8(float32: Path, photos: Pixels) -> Path:
    path = float32.with_name("model.int8.onnx")
    export_int8(float32, path, photos)
    return path
