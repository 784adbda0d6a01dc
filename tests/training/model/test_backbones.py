"""Each backbone can be trained, exported, checked and served."""

from pathlib import Path

import onnx
import pytest
import timm
import torch
import torchvision

from service.model import Model
from service.registry import FILES, current_version
from tests.fixtures.drawing import draw, draw_folder, encode
from tests.fixtures.server import serving
from training.config import BACKBONE_NAMES, Hyperparameters, TrainConfig
from training.data.dataset import read_photos
from training.data.folders import find_photos_to_train
from training.model.backbones import BACKBONES, backbone_spec
from training.train import train

LITE = "timm/tf_efficientnet_lite0"


def _weights(name: str, folder: Path, path: Path) -> str:
    """Save random weights with batch norm statistics of the drawings, as pretrained weights have those of photos."""
    torch.manual_seed(0)
    if name.startswith("timm/"):
        network = timm.create_model(name.removeprefix("timm/"))
    else:
        network = torchvision.models.get_model(name, weights=None, **BACKBONES[name].options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain average
    pixels = read_photos(find_photos_to_train(folder).take(range(0, 64, 8)), backbone_spec(name).size)
    with torch.inference_mode():
        network.train()((torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127.5) / 60)
    torch.save(network.state_dict(), path)
    return str(path)


def test_the_command_line_knows_every_backbone() -> None:
    assert tuple(BACKBONES) == BACKBONE_NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BACKBONES, LITE])
def test_a_backbone_is_trained_and_served(name: str, tmp_path: Path) -> None:
    models, folder = tmp_path / "models", tmp_path / "photos"
    draw_folder(folder / "train", each=32)
    draw_folder(folder / "val", each=16, first=500)
    weights = _weights(name, folder / "train", tmp_path / "weights.pth")
    train_size = None if name == "inception_v3" else 64  # its auxiliary head needs large squares
    # A low learning rate keeps the linear probe, which is right for nearly all drawings.
    hyperparameters = Hyperparameters(
        epochs=1, batch_size=8, learning_rate=1e-5, augmentation="none", train_size=train_size, final_size=train_size
    )
    train(TrainConfig(folder, models, name, weights, hyperparameters=hyperparameters))
    version = models / current_version(models)
    side = {"inception_v3": 299}.get(name, 224)
    for file in FILES.values():
        graph = onnx.load(version / file).graph
        assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:] == [side, side, 3]
        assert not [tensor.name for tensor in graph.initializer if tensor.name.startswith("auxiliary")]
        assert Model(version / file).metadata.backbone == name
    with serving(models) as server:
        described = server.request("GET", "/v1/model").json()
        assert (described["backbone"], described["input_size"]) == (name, side)
        answer = server.post_photos(encode(draw("hotdog", 2000)), encode(draw("not_hotdog", 2000)))
    assert answer.status == 200
    assert [0 <= prediction["probability"] <= 1 for prediction in answer.json()["predictions"]] == [True, True]
