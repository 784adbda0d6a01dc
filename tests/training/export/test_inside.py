"""The file for the page /inside has the stages of the network as outputs, and the model's own answer."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from service.errors import SeeFoodError
from service.model import Model
from service.photo import Pixels
from service.registry import FILES, INSIDE, version_of
from tests.conftest import ROOT
from tests.fixtures.command import seefood
from tests.fixtures.small_network import TEMPERATURE, write_small_version
from tests.fixtures.tiny_model import write_tiny_model
from training.export.inside import write_inside
from training.export.layer_table import read_layers
from training.model.classifier import Classifier

Outputs = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small") / "models"


@pytest.fixture(scope="module")
def small(models: Path) -> Classifier:
    return write_small_version(models)


@pytest.fixture(scope="module")
def inside(models: Path, small: Classifier) -> Path:  # noqa: ARG001 - the network writes the registry
    result = seefood(models, "inspect", "small", "--onnx")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{models / 'small' / INSIDE}: ")
    return models / "small" / INSIDE


def _run(path: Path, pixels: Pixels) -> Outputs:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(
        zip([each.name for each in session.get_outputs()], session.run(None, {"pixels": pixels[None]}), strict=True)
    )


def _describe(outputs: Outputs) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(outputs["description"].tobytes())
    return description


def _square(size: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


def test_the_outputs_are_those_of_the_network(small: Classifier, inside: Path) -> None:
    square = _square(small.size)
    outputs = _run(inside, square)
    stages = {(stage["name"], stage["kind"]): outputs[stage["output"]] for stage in _describe(outputs)["stages"]}
    with torch.inference_mode():
        maps = small.normalize(torch.from_numpy(square[None]))
        np.testing.assert_allclose(outputs[_describe(outputs)["normalised"]], maps, atol=1e-5)
        expected = {}
        for name, stage in small.features.named_children():
            maps = stage(maps)
            expected[name] = maps.numpy().copy()
        heatmap = small.head(maps).squeeze(1).numpy()
    of_stage = {
        ("conv1", "convolution"): "bn1",  # folded into the convolution
        ("conv1", "activation"): "relu",
        ("maxpool", "max pooling"): "maxpool",
        ("layer1", "stage"): "layer1",
        ("layer2", "stage"): "layer2",
    }
    assert list(stages) == list(of_stage)
    for key, name in of_stage.items():
        np.testing.assert_allclose(stages[key], expected[name], atol=1e-4, err_msg=name)
    np.testing.assert_allclose(outputs["heatmap"], heatmap, atol=1e-4)
    skip = _describe(outputs)["skip"]
    np.testing.assert_allclose(outputs[skip["input"]], expected["maxpool"], atol=1e-4)
    np.testing.assert_allclose(outputs[skip["input"]] + outputs[skip["branch"]], outputs[skip["sum"]], atol=1e-5)
    np.testing.assert_allclose(np.maximum(outputs[skip["sum"]], 0), expected["layer1"], atol=1e-4)


def test_the_description_agrees_with_the_table_of_layers(inside: Path) -> None:
    outputs = _run(inside, _square(64))
    description = _describe(outputs)
    layers = {layer.name: layer for layer in read_layers(inside.with_name("model.onnx"))}
    last = {"conv1": "conv1", "maxpool": "maxpool", "layer1": "layer1.0.conv2", "layer2": "layer2.0.conv2"}
    assert {stage["name"] for stage in description["stages"]} == set(last)
    for stage in description["stages"]:
        layer = layers[last[stage["name"]]]
        assert (stage["channels"], stage["height"], stage["width"]) == layer.output
        assert max(stage["receptive_field"]) == layer.receptive_field
        assert stage["stride"] == [64 / stage["height"], 64 / stage["width"]]
        assert stage["centre"] == [0, 0], "odd kernels with half of them as padding keep the centre"
    assert description["first"]["kernel"] == [7, 7]
    assert description["head"]["parameters"] == 24 + 1
    assert description["head"]["fully_connected"] == (24 * 8 * 8 + 1) * 8 * 8
    assert description["total"]["parameters"] == sum(layer.parameters for layer in layers.values())
    assert description["temperature"] == TEMPERATURE
    assert outputs["kernels"].shape == (16, 3, 7, 7)


def test_the_property_is_the_description(inside: Path) -> None:
    properties = {each.key: each.value for each in onnx.load(inside).metadata_props}
    assert json.loads(properties["inside"]) == _describe(_run(inside, _square(64)))
    onnx.checker.check_model(str(inside))
    Model(inside).warm_up()  # it is a model that can be served, with the model's self-test


def test_resnet18_has_its_published_receptive_fields(tmp_path: Path) -> None:
    path = ROOT / "models" / version_of(ROOT / "models", "current") / FILES["float32"]
    write_inside(path, tmp_path / INSIDE)
    stages = _describe(_run(tmp_path / INSIDE, _square(224)))["stages"]
    assert [(each["name"], each["receptive_field"][0], each["stride"][0], each["height"]) for each in stages] == [
        ("conv1", 7, 2, 112),
        ("conv1", 7, 2, 112),
        ("maxpool", 11, 4, 56),
        ("layer1", 43, 4, 56),
        ("layer2", 99, 8, 28),
        ("layer3", 211, 16, 14),
        ("layer4", 435, 32, 7),
    ]


def test_another_file_can_be_named(models: Path, inside: Path, tmp_path: Path) -> None:
    result = seefood(models, "inspect", "--onnx", "--output", tmp_path / "other.onnx")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "other.onnx").read_bytes() == inside.read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["other.onnx"]


def test_errors_are_sentences(models: Path, inside: Path, tiny_models: Path, tmp_path: Path) -> None:
    model = inside.with_name("model.onnx")
    shutil.copy(ROOT / "models" / version_of(ROOT / "models", "phone") / FILES["int8"], tmp_path / "int8.onnx")
    (tmp_path / "text.onnx").write_text("no ONNX file")
    write_tiny_model(tmp_path / "bare.onnx", {})
    for arguments, said in (
        (["no-version", "--onnx"], "There is no model file"),
        ([tmp_path / "text.onnx", "--onnx"], "text.onnx can't be read as an ONNX file"),
        ([tmp_path / "int8.onnx", "--onnx"], "int8.onnx is quantised; name a version"),
        ([tmp_path / "bare.onnx", "--onnx"], "bare.onnx is not a seefood model: schema_version is None"),
        ([tiny_models / "tiny" / "model.onnx", "--onnx"], "has no convolution before its head"),
        ([model, "--onnx", "--output", model], "is the model itself; name another file"),
        ([model, "--onnx", "--output", tmp_path], "can't be written: Is a directory; name another file"),
        ([model, "--onnx", "--output", tmp_path / "none" / "a.onnx"], "can't be written: No such file or directory"),
        ([model, "--output", tmp_path / "a.onnx"], "--output names the file that --onnx writes; add --onnx."),
    ):
        result = seefood(models, "inspect", *arguments)
        assert result.exit_code == SeeFoodError.status
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.onnx").exists()
    assert not list(tmp_path.glob(".*"))
