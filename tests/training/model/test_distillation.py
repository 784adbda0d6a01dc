"""Teachers see the crops of the student."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from service.errors import SeeFoodError
from service.model import Model
from tests.fixtures.drawing import draw_folder
from tests.fixtures.tiny_model import write_tiny_model
from training.config import Hyperparameters
from training.data.cache import Cache
from training.data.dataset import TrainingSet
from training.data.photos import find_photos_to_train
from training.model.distillation import Ensemble, Teacher


def test_teachers_answer_the_crops_that_a_student_sees(tmp_path: Path) -> None:
    photos = find_photos_to_train(draw_folder(tmp_path / "photos", each=32)).take([0, 1, 40])
    path = write_tiny_model(tmp_path / "teacher.onnx")
    hyperparameters = Hyperparameters(epochs=5, views=2)
    ensemble = Ensemble([path, path])
    answers = ensemble.probabilities(photos, ["a", "b", "c"], hyperparameters, Cache(tmp_path / "cache.sqlite"))
    assert answers.shape == (2, 3)
    assert not np.array_equal(answers[0], answers[1]), "another crop is another photo"
    model = Model(path)
    student = TrainingSet(photos, torch.from_numpy(answers), hyperparameters.augmentation, ensemble.crop_size)
    for index in range(3):
        pixels, target = student[index, 1, model.size]
        assert model.run(pixels[None].numpy())[0] == pytest.approx(float(target))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"^The teacher .*teacher\.onnx can't be read: No such file or directory\.$"),
        (b"no model", r"^The teacher .*teacher\.onnx is not an ONNX file; name a file of seefood train\.$"),
    ],
)
def test_a_file_that_is_no_teacher_is_a_sentence(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "teacher.onnx").write_bytes(content)
    with pytest.raises(SeeFoodError, match=sentence):
        Teacher(tmp_path / "teacher.onnx")


def test_probabilities_of_another_shape_are_a_sentence(tmp_path: Path) -> None:
    """A column of N probabilities and a row of N labels would be mixed to N x N targets."""
    path = write_tiny_model(tmp_path / "teacher.onnx")
    model = onnx.load(path)
    (mean,) = [node for node in model.graph.node if node.output == ["logit"]]
    model.graph.node.insert(
        list(model.graph.node).index(mean) + 1, helper.make_node("Unsqueeze", ["logit", "channel"], ["column"])
    )
    (sigmoid,) = [node for node in model.graph.node if node.output == ["probability"]]
    sigmoid.input[0] = "column"
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1
    onnx.save(model, path)
    with pytest.raises(
        SeeFoodError, match=r"must have .* the output `probability`, \[N\]; name a file of seefood train"
    ):
        Teacher(path)
