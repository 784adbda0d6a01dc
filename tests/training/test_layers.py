"""The table of layers is what a textbook says of ResNet-18."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from service.cli import main
from service.errors import SeeFoodError
from tests.fixtures.tiny_model import write_tiny_model
from training import export
from training.layers import Layer, layers
from training.network import build


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> list[Layer]:
    path = tmp_path_factory.mktemp("layers") / "model.onnx"
    network, _ = build("none")
    for name, bias in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.ones_(bias)  # the exporter leaves out those that are zero
    export.export_float32(network, path)
    return layers(path)


def test_the_first_layers_of_resnet18(resnet: list[Layer]) -> None:
    pixels, outputs = 224 * 224 * 3, 64 * 112 * 112
    weights = 7 * 7 * 3 * 64 + 64
    assert resnet[0] == Layer("conv1", "convolution", 7, 2, 3, 1, (64, 112, 112), 7, weights, (pixels + 1) * outputs)
    assert resnet[1] == Layer("maxpool", "max pooling", 3, 2, 1, 1, (64, 56, 56), 11, 0, 0)


def test_the_whole_of_resnet18(resnet: list[Layer]) -> None:
    assert sum(layer.kind == "convolution" for layer in resnet) == 20 + 1  # and the head
    convolutions = [module for module in build("none")[0].modules() if isinstance(module, torch.nn.Conv2d)]
    assert sum(layer.parameters for layer in resnet) == sum(c.weight.numel() + c.out_channels for c in convolutions)
    by_name = {layer.name: layer for layer in resnet}
    assert by_name["layer4.1.conv2"].receptive_field == 435  # of ResNet-18, Araujo et al. 2019
    assert by_name["layer4.1.conv2"].output == (512, 7, 7)
    assert by_name["layer3.0.downsample.0"].kernel == 1
    assert resnet[-1].kind == "average"
    assert resnet[-1].output == (1, 1, 1)


def test_the_command_prints_a_table(tiny_models: Path) -> None:
    result = CliRunner().invoke(main, ["inspect"], env={"SEEFOOD_MODELS": str(tiny_models)})
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[2].split()[:2] == ["LAYER", "KIND"]
    assert "average pooling" in lines[4]
    assert max(map(len, lines)) <= 120


def test_a_file_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    for content in (b"", b"no ONNX file"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(SeeFoodError, match=r"model\.onnx can't be read as an ONNX file"):
            layers(tmp_path / "model.onnx")
    assert layers(write_tiny_model(tmp_path / "tiny.onnx"))[0].parameters == 3
