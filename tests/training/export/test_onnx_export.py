"""The exported files have the documented inputs, outputs and metadata; the gates reject files that answer otherwise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from service.errors import SeeFoodError
from service.model import Model
from service.photo import Pixels
from tests.fixtures.tiny_model import METADATA
from training.export import onnx_export
from training.export.onnx_export import (
    PARITY_TOLERANCE,
    GateError,
    check_float32,
    check_int8,
    export_int8,
    run_onnx,
    write_metadata,
)
from training.model.classifier import Classifier


def test_both_files_keep_the_contract(float32: Path, int8: Path) -> None:
    for path in (float32, int8):
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        (pixels,) = session.get_inputs()
        assert (pixels.name, pixels.type, pixels.shape[1:]) == ("pixels", "tensor(uint8)", [224, 224, 3])
        probability, heatmap, familiarity = session.get_outputs()
        assert (probability.name, probability.type, len(probability.shape)) == ("probability", "tensor(float)", 1)
        assert (heatmap.name, heatmap.type, heatmap.shape[1:]) == ("heatmap", "tensor(float)", [7, 7])
        assert (familiarity.name, familiarity.type, len(familiarity.shape)) == ("familiarity", "tensor(float)", 1)
        for count in (1, 3):
            outputs = session.run(None, {"pixels": np.zeros((count, 224, 224, 3), np.uint8)})
            assert [output.shape for output in outputs] == [(count,), (count, 7, 7), (count,)]


def test_the_heatmaps_mean_is_the_logit_before_temperature(float32: Path, photos: Pixels) -> None:
    session = ort.InferenceSession(float32, providers=["CPUExecutionProvider"])
    probability, heatmap = session.run(["probability", "heatmap"], {"pixels": photos[:4]})
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-heatmap.mean((1, 2)) / 1.5)), rtol=1e-5)


def test_int8_is_quantised_as_it_is_fast(int8: Path) -> None:
    graph = onnx.load(int8).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 21
    for node in convolutions[1:-1]:
        activation, weight = (producers[name] for name in node.input[:2])
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert tensors[activation.input[2]].dtype == np.uint8
        assert tensors[weight.input[0]].dtype == np.int8
        assert tensors[weight.input[1]].shape == (tensors[weight.input[0]].shape[0],), "there is one scale per channel"
    for node in (convolutions[0], convolutions[-1]):
        assert tensors[node.input[1]].dtype == np.float32, "the first convolution and the head stay float32"
    assert int8.stat().st_size < 12e6


@pytest.mark.parametrize(("share", "quantised"), [(0.5, 10), (1, 0)])
def test_a_share_of_the_convolutions_can_stay_float32(
    share: float, quantised: int, float32: Path, photos: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "model.int8.onnx"
    export_int8(float32, path, photos, share)
    graph = onnx.load(path).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    kinds = ["int8" if node.input[1] not in tensors else "float32" for node in convolutions]
    assert kinds == ["float32", *["int8"] * quantised, *["float32"] * (20 - quantised)]
    if share == 1:
        np.testing.assert_allclose(run_onnx(path, photos), run_onnx(float32, photos), atol=1e-5)


def test_no_path_of_the_machine_is_in_the_file(float32: Path, int8: Path) -> None:
    for path in (float32, int8):
        assert str(Path(onnx_export.__file__).parent).encode() not in path.read_bytes()


def test_metadata_is_in_the_file(int8: Path) -> None:
    write_metadata(int8, METADATA)
    stamped = Model(int8).metadata
    assert replace(stamped, reference_digest=None, reference_probability=None) == METADATA


def test_a_stamped_file_answers_its_reference_square_as_it_says(int8: Path, tmp_path: Path) -> None:
    write_metadata(int8, METADATA)
    model = Model(int8)
    model.warm_up()
    assert model.warm
    stored = model.metadata.reference_probability
    assert stored is not None
    other = onnx.load(int8)
    wrong = replace(model.metadata, reference_probability=0.9 if stored < 0.5 else 0.1)
    onnx.helper.set_model_props(other, wrong.to_properties())
    onnx.save(other, tmp_path / "wrong.onnx")
    with pytest.raises(
        SeeFoodError, match=r"wrong\.onnx answers its reference square with a probability that is 0\.\d+ from"
    ):
        Model(tmp_path / "wrong.onnx").warm_up()


def test_float32_agrees_with_pytorch(network: Classifier, float32: Path, photos: Pixels) -> None:
    assert check_float32(network, float32, photos) <= PARITY_TOLERANCE


@pytest.mark.parametrize(("error", "said"), [(1.01, r"[0-9.e-]+"), (np.nan, "nan")])
def test_a_file_that_disagrees_fails(
    network: Classifier, float32: Path, photos: Pixels, tmp_path: Path, error: float, said: str
) -> None:
    model = onnx.load(float32)
    head = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == head.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(error), weight.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(GateError, match=rf"model.onnx differs from PyTorch by ({said}) .* at most 1e-04"):
        check_float32(network, tmp_path / "model.onnx", photos)


def test_too_few_photos_prove_nothing(network: Classifier, float32: Path, photos: Pixels) -> None:
    with pytest.raises(GateError, match="compared on 63 photos; at least 64"):
        check_float32(network, float32, photos[1:])


@pytest.mark.parametrize(
    ("int8_scores", "passes"),
    [
        ([0.9] * 100 + [0.1] * 100, True),
        ([0.4] * 2 + [0.9] * 98 + [0.1] * 100, True),  # 2 of 200 photos: one percentage point, and the ranking is right
        ([0.4] * 3 + [0.9] * 97 + [0.1] * 100, False),  # accuracy
        ([0.9] * 99 + [0.05] + [0.1] * 100, False),  # ROC AUC
        ([float("nan")] * 200, False),
    ],
)
def test_the_int8_gate(int8_scores: list[float], passes: bool) -> None:
    targets = np.repeat([1, 0], 100).astype(np.float32)
    exact = np.where(targets == 1, 0.9, 0.1).astype(np.float32)
    quantised = np.array(int8_scores, np.float32)
    if passes:
        check_int8(exact, quantised, targets, 0.5)
    else:
        with pytest.raises(GateError, match="int8"):
            check_int8(exact, quantised, targets, 0.5)


def test_one_photo_of_few_does_not_fail_the_int8_gate_and_two_do() -> None:
    targets = np.repeat([1, 0], 20).astype(np.float32)
    exact = np.where(targets == 1, 0.9, 0.1).astype(np.float32)
    one, two = exact.copy(), exact.copy()
    one[0], two[:2] = 0.4, 0.4
    assert check_int8(exact, one, targets, 0.5)["accuracy"] == pytest.approx(1 / 40)
    with pytest.raises(GateError, match=r"loses 0\.050 of accuracy .* at most 0\.025 and 0\.0050 are allowed\.$"):
        check_int8(exact, two, targets, 0.5)
