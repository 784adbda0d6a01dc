"""The table of layers has the published values of ResNet-18."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from service.errors import SeeFoodError
from tests.fixtures.command import seefood
from tests.fixtures.tiny_model import write_tiny_model
from training.export.layer_table import HEADING, Layer, read_layers
from training.export.onnx_export import export_float32
from training.model.classifier import build_classifier


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> list[Layer]:
    path = tmp_path_factory.mktemp("layers") / "model.onnx"
    network, _ = build_classifier("none")
    for name, bias in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.ones_(bias)  # the exporter omits biases that are zero
    export_float32(network, path)
    return read_layers(path)


def test_the_first_layers_of_resnet18(resnet: list[Layer]) -> None:
    pixels, outputs = 224 * 224 * 3, 64 * 112 * 112
    weights = 7 * 7 * 3 * 64 + 64
    assert resnet[0] == Layer(
        "conv1", "convolution", (7, 7), (2, 2), (3, 3), (1, 1), (64, 112, 112), 7, weights, (pixels + 1) * outputs
    )
    assert resnet[1] == Layer("maxpool", "max pooling", (3, 3), (2, 2), (1, 1), (1, 1), (64, 56, 56), 11, 0, 0)


def test_the_whole_of_resnet18(resnet: list[Layer]) -> None:
    assert sum(layer.kind == "convolution" for layer in resnet) == 20 + 1  # and the head
    convolutions = [module for module in build_classifier("none")[0].modules() if isinstance(module, torch.nn.Conv2d)]
    assert sum(layer.parameters for layer in resnet) == sum(c.weight.numel() + c.out_channels for c in convolutions)
    by_name = {layer.name: layer for layer in resnet}
    assert by_name["layer4.1.conv2"].receptive_field == 435  # of ResNet-18, Araujo et al. 2019
    assert by_name["layer4.1.conv2"].output == (512, 7, 7)
    assert by_name["layer3.0.downsample.0"].kernel == (1, 1)
    assert resnet[-1].kind == "average"
    assert resnet[-1].output == (1, 1, 1)


def test_a_layer_as_text() -> None:
    flat = Layer("mixed", "convolution", (1, 7), (1, 1), (0, 3), (1, 1), (192, 17, 17), 351, 1234, 5678)
    assert flat.cells() == (
        "mixed",
        "convolution",
        "1 x 7",
        "1",
        "0 x 3",
        "1",
        "192 x 17 x 17",
        "351",
        "1,234",
        "5,678",
    )
    assert len(flat.cells()) == len(HEADING)
    assert replace(flat, fully_connected=0).cells()[-1] == "-"


def test_kernels_that_are_not_square_and_norms_that_stay(tmp_path: Path) -> None:
    """As in Inception, kernels are 1 x 7 and 7 x 1; as in DenseNet, a batch norm follows a pooling."""
    nodes = [
        helper.make_node("Conv", ["x", "features.a.weight"], ["a"], kernel_shape=[1, 7], pads=[0, 3, 0, 3]),
        helper.make_node("Conv", ["a", "features.b.weight"], ["b"], kernel_shape=[3, 1], strides=[2, 1]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "norm.weight", "norm.bias", "mean", "variance"], ["y"]),
    ]
    shapes: dict[str, tuple[int, ...]] = {"features.a.weight": (4, 3, 1, 7), "features.b.weight": (5, 4, 3, 1)}
    shapes |= dict.fromkeys(("norm.weight", "norm.bias", "mean", "variance"), (5,))
    graph = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 21, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "a.onnx")
    a, b, pool, norm = read_layers(tmp_path / "a.onnx")
    assert (a.name, a.kernel, a.padding, a.output, a.receptive_field) == ("a", (1, 7), (0, 3), (4, 21, 20), 7)
    assert (b.kernel, b.stride, b.output, b.receptive_field) == ((3, 1), (2, 1), (5, 10, 20), 7)
    assert (pool.output, pool.receptive_field, pool.parameters) == ((5, 9, 19), 8, 0), "the vertical field is 3 + 1 x 2"
    assert (norm.name, norm.kind, norm.kernel, norm.receptive_field) == ("norm", "batch norm", (1, 1), 8)
    assert (norm.parameters, norm.fully_connected) == (10, 0)


def test_the_command_prints_a_table(tiny_models: Path) -> None:
    result = seefood(tiny_models, "inspect")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[2].split()[:2] == ["LAYER", "KIND"]
    assert "average pooling" in lines[4]
    assert max(map(len, lines)) <= 120


def test_a_file_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    for content in (b"", b"no ONNX file"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(SeeFoodError, match=r"model\.onnx can't be read as an ONNX file"):
            read_layers(tmp_path / "model.onnx")
    assert read_layers(write_tiny_model(tmp_path / "tiny.onnx"))[0].parameters == 3


def test_a_file_without_a_convolution_is_a_sentence(tiny_models: Path, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.ones((4, 1), np.float32), "w")],
    )
    path = tmp_path / "mlp.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    result = seefood(tiny_models, "inspect", path)
    sentence = f"seefood: {path} has no convolution; name a model file of seefood train.\n"
    assert (result.exit_code, result.stderr) == (2, sentence)
