"""A model file is found, opened and run; an unusable one gives one sentence."""

import ctypes
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.errors import SeeFoodError
from service.metadata import Metadata
from service.model import Model, open_model
from service.registry import find_model
from service.self_test import digest, reference_square
from service.session import DISABLED_OPTIMIZERS
from tests.conftest import ROOT
from tests.fixtures.tiny_model import METADATA, SIZE, write_old_model, write_tiny_model, write_tiny_registry


def _photos(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((SIZE, SIZE, 3), colour, np.uint8) for colour in colours])


def test_a_batch_keeps_its_order(tiny_models: Path) -> None:
    model = open_model(tiny_models)
    outputs = model.run(_photos((255, 0, 0), (90, 90, 90), (0, 0, 255), (255, 255, 0)))
    probability, heatmap, familiarity = outputs
    assert familiarity is not None
    assert probability.dtype == heatmap.dtype == familiarity.dtype == np.float32
    assert heatmap.shape == (4, 2, 2)
    assert probability[0] > 0.99
    assert probability[1] == 0.5
    assert probability[2] < 0.01
    assert familiarity.tolist() == [0, -90, 0, -255]
    verdicts = [model.verdict(probability, familiarity) for probability, _, familiarity in outputs.each()]
    assert [verdict.label for verdict in verdicts] == ["hotdog", "hotdog", "not_hotdog", "hotdog"]
    assert [verdict.uncertain for verdict in verdicts] == [False, True, False, False]
    assert [verdict.unfamiliar for verdict in verdicts] == [False, False, False, True]


@pytest.mark.parametrize("metadata", [METADATA, replace(METADATA, familiarity_level=None)], ids=["level", "no level"])
def test_the_familiarity_level_is_inclusive(tmp_path: Path, metadata: Metadata) -> None:
    model = Model(write_tiny_model(tmp_path / "model.onnx", metadata.to_properties()))
    level = -128.0
    told = [model.verdict(0.9, familiarity).unfamiliar for familiarity in (level - 1e-3, level, level + 1e-3, None)]
    assert told == ([True, False, False, None] if metadata.familiarity_level else [None] * 4)


def test_an_old_file_without_familiarity_is_served(tmp_path: Path, tiny_models: Path) -> None:
    pixels = _photos((255, 0, 0), (0, 255, 0))
    without_level = write_tiny_model(
        tmp_path / "without_level.onnx", replace(METADATA, familiarity_level=None).to_properties()
    )
    expected = open_model(tiny_models).run(pixels)
    for path in (write_old_model(tmp_path / "old.onnx"), without_level):
        model = Model(path)
        outputs = model.run(pixels)
        np.testing.assert_array_equal(outputs.probability, expected.probability)
        assert outputs.familiarity is None
        assert [familiarity for _, _, familiarity in outputs.each()] == [None, None]
        assert model.describe()["familiarity_level"] is None


def test_the_boolean_is_named_after_the_positive_label(tmp_path: Path) -> None:
    named = replace(METADATA, positive_label="cat", negative_label="dog")
    model = Model(write_tiny_model(tmp_path / "model.onnx", named.to_properties()))
    cat = {"label": "cat", "cat": True, "probability": 0.9, "uncertain": False}
    dog = {"label": "dog", "cat": False, "probability": 0.3, "uncertain": True, "unfamiliar": True}
    assert model.verdict(0.9, None).as_dict("cat") == cat
    assert model.verdict(0.3, -200).as_dict("cat") == dog


def test_a_model_is_warm_after_the_warm_up(tiny_models: Path) -> None:
    model = open_model(tiny_models)
    assert not model.warm
    model.warm_up()
    assert model.warm


def test_a_file_that_fails_its_self_test_is_refused(tmp_path: Path) -> None:
    square = reference_square(SIZE)
    (right,) = Model(write_tiny_model(tmp_path / "tiny.onnx")).run(square[None]).probability.tolist()
    for stored, of in ((right, square), (right + 0.5 if right < 0.5 else right - 0.5, square[::-1])):
        about = replace(METADATA, reference_digest=digest(of), reference_probability=stored)
        model = Model(write_tiny_model(tmp_path / "tiny.onnx", about.to_properties()))
        model.warm_up(2)  # the probability of another square can't be compared
        assert model.warm
    about = replace(about, reference_digest=digest(square))
    model = Model(write_tiny_model(tmp_path / "tiny.onnx", about.to_properties()))
    with pytest.raises(
        SeeFoodError, match=r"tiny\.onnx answers its reference square with a probability that is 0\.500 from"
    ):
        model.warm_up()
    assert not model.warm


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    (weights,) = [each for each in model.graph.initializer if each.name == "weights"]
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3, 1, 1), np.nan, np.float32), "weights"))
    onnx.save(model, path)
    with pytest.raises(SeeFoodError, match="or values that are not finite"):
        Model(path).warm_up()


def test_a_cpu_uses_int8_by_default(tiny_models: Path) -> None:
    assert open_model(tiny_models).path.name == "model.int8.onnx"
    assert open_model(tiny_models, precision="float32").path.name == "model.onnx"


def test_an_int8_model_pools_in_float32(tmp_path: Path) -> None:
    """If ONNX Runtime rounds to uint8 before the pool, the pool takes a third of the inference time."""
    path = find_model(ROOT / "models", "", "int8")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    kept = ort.InferenceSession(path, options, ["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS)
    graph = onnx.load(options.optimized_model_filepath).graph
    (pool,) = [node for node in graph.node if node.op_type == "MaxPool"]
    (before,) = [node for node in graph.node if pool.input[0] in node.output]
    assert before.op_type == "Conv"
    moved = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = {"pixels": np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)}
    for answer, other in zip(kept.run(None, pixels), moved.run(None, pixels), strict=True):
        np.testing.assert_array_equal(answer, other)


def test_a_file_can_be_opened_by_its_path(tiny_models: Path) -> None:
    assert open_model(Path("nowhere"), str(tiny_models / "tiny" / "model.onnx")).metadata.version == "tiny"


def test_missing_cuda_is_an_error_if_requested(tiny_models: Path) -> None:
    with pytest.raises(SeeFoodError, match="The device cuda can't be used: install onnxruntime-gpu"):
        open_model(tiny_models, device="cuda")


def test_missing_cuda_is_named_where_there_is_no_float32_file(tiny_models: Path, tmp_path: Path) -> None:
    """The image for CPUs has int8 files alone."""
    models = shutil.copytree(tiny_models, tmp_path / "models", ignore=shutil.ignore_patterns("model.onnx"))
    assert len(list(models.rglob("*.onnx"))) >= 1
    with pytest.raises(SeeFoodError, match="The device cuda can't be used"):
        open_model(models, device="cuda")


def test_a_cuda_session_that_falls_back_is_an_error_if_requested(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = ort.InferenceSession
    asked: list[object] = []

    def session(path: Path, options: ort.SessionOptions, providers: list[object], **_: object) -> ort.InferenceSession:
        asked.append(providers[0])
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(SeeFoodError, match="The device cuda can't be used: there is no NVIDIA driver; give"):
        open_model(tiny_models, device="cuda")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(SeeFoodError, match="The device cuda can't be used: ONNX Runtime fell back to cpu"):
        open_model(tiny_models, device="cuda")
    assert asked == [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})]
    assert open_model(tiny_models, device="auto").device == "cpu"
    assert "Serving on the CPU." in caplog.text


def _without(output: int) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        model = onnx.load(path)
        del model.graph.output[output]
        onnx.save(model, path)

    return remove


def _with_another_input_name(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].name = "image"
    for node in model.graph.node:
        node.input[:] = ["image" if name == "pixels" else name for name in node.input]
    onnx.save(model, path)


def _with_oblong_input(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32
    onnx.save(model, path)


def _with_a_probability_for_each_of_two_classes(path: Path) -> None:
    model = onnx.load(path)
    (node,) = [node for node in model.graph.node if node.output[0] == "probability"]
    node.output[0] = "alone"
    unsqueeze = onnx.helper.make_node("Unsqueeze", ["alone", "channel"], ["column"])
    model.graph.node.extend([unsqueeze, onnx.helper.make_node("Concat", ["column", "column"], ["probability"], axis=1)])
    del model.graph.output[0]
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("probability", onnx.TensorProto.FLOAT, ["N", 2]))
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda path: path.unlink(), "There is no model file"),
        (lambda path: path.write_bytes(b"not an ONNX file"), "can't be opened on cpu"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "can't be opened on cpu"),
        (lambda path: write_tiny_model(path, {}), "is not a seefood model: schema_version is None"),
        (
            lambda path: write_tiny_model(path, replace(METADATA, resize="pad").to_properties()),
            "needs photos resized by 'pad', but the service resizes by 'squash'",
        ),
        (_without(1), "has no output heatmap; export it with seefood train"),
        (_without(2), "has no output familiarity; export it with seefood train"),
        (_with_another_input_name, r"must have one input, uint8 `pixels` \[N, S, S, 3\]"),
        (_with_oblong_input, r"must have one input, uint8 `pixels` \[N, S, S, 3\]"),
        (
            _with_a_probability_for_each_of_two_classes,
            r"has the output probability as tensor\(float\) of shape \['N', 2\]",
        ),
        (
            lambda path: write_tiny_model(path, METADATA.to_properties() | {"threshold": "2"}),
            "the property 'threshold' is not between 0 and 1: 2",
        ),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, break_it: object, sentence: str) -> None:
    path = write_tiny_registry(tmp_path) / "tiny" / "model.int8.onnx"
    assert callable(break_it)
    break_it(path)
    with pytest.raises(SeeFoodError, match=sentence) as caught:
        open_model(tmp_path)
    assert str(path) in str(caught.value)


def test_a_registry_without_a_current_version_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match=f"{tmp_path} names no current model"):
        find_model(tmp_path, "", "int8")
