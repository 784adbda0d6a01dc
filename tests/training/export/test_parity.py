"""The parity gates reject files that do not answer as the classifier does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.photo import Pixels
from training.export.parity import PARITY_TOLERANCE, GateError, check_float32, check_int8
from training.model.classifier import Classifier


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
    with pytest.raises(GateError, match=r"int8 file loses 0\.050 of accuracy"):
        check_int8(exact, two, targets, 0.5)
