"""What is learnt from a pretrained network's features: a head, suspected labels, and all of it only once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from service.errors import SeeFoodError
from service.model import Model
from tests.fixtures.drawing import draw_folder
from tests.fixtures.tiny_model import write_tiny_model
from training.data.cache import remembered
from training.data.dataset import TrainingSet
from training.data.folders import Photos, scan
from training.data.label_issues import find_suspects
from training.model.classifier import build
from training.model.distillation import Ensemble, Teacher
from training.model.linear_probe import Array, frozen_features, out_of_fold, probe_head
from training.recipe import Recipe


def _two_clouds(count: int, channels: int = 512) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    targets = np.arange(count) % 2
    return (random.normal(size=(count, channels)) * 3 + targets[:, None] + 5).astype(np.float32), targets.astype(
        np.float32
    )


def test_the_head_is_the_probe() -> None:
    features, targets = _two_clouds(300)
    network, _ = build("none")
    probe_head(network, features, targets)
    maps = torch.from_numpy(features)[:, :, None, None]
    with torch.inference_mode():
        probabilities = torch.sigmoid(network.head(maps).flatten()).numpy()
    standard = (features - features.mean(0)) / features.std(0)
    expected = LogisticRegression(C=0.01, max_iter=2000).fit(standard, targets).predict_proba(standard)[:, 1]
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


def test_predictions_out_of_fold_do_not_know_their_label() -> None:
    """Of noise nothing can be learnt but by heart."""
    features, targets = _two_clouds(300)
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    assert abs(((out_of_fold(noise, targets) > 0.5) == (targets == 1)).mean() - 0.5) < 0.12
    assert ((out_of_fold(features, targets) > 0.5) == (targets == 1)).mean() > 0.9


def test_swapped_labels_are_suspected_first() -> None:
    features, targets = _two_clouds(400)
    swapped = np.random.default_rng(2).choice(400, 12, replace=False)
    wrong = targets.copy()
    wrong[swapped] = 1 - wrong[swapped]
    photos = Photos(tuple(Path(str(i)) for i in range(400)), wrong, "yes", "no")
    suspects = find_suspects(photos, out_of_fold(features, wrong))
    assert len({int(str(suspect.path)) for suspect in suspects[:12]} & set(swapped.tolist())) >= 10
    assert [suspect.quality for suspect in suspects] == sorted(suspect.quality for suspect in suspects)
    worst = suspects[0]
    assert worst.label == ("yes" if wrong[int(str(worst.path))] else "no")


def test_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = scan(draw_folder(tmp_path / "photos", each=32)).take([0, 1, 40])
    network, _ = build("none")
    first = frozen_features(network, photos, ["a", "b", "c"], tmp_path / "cache")
    assert first.shape == (3, 512)
    monkeypatch.setattr(network, "pooled", None)
    assert np.array_equal(frozen_features(network, photos, ["a", "b", "c"], tmp_path / "cache"), first)
    assert np.array_equal(frozen_features(network, photos.take([2]), ["c"], tmp_path / "cache"), first[2:])


def test_only_what_is_new_is_computed_and_damage_is_a_sentence(tmp_path: Path) -> None:
    asked = []

    def compute(positions: list[int]) -> Array:
        asked.append(positions)
        return np.array(positions, np.float32)

    remembered(tmp_path, "key", ["a", "b"], compute)
    assert remembered(tmp_path, "key", ["b", "c", "a"], compute).tolist() == [1, 1, 0]
    assert asked == [[0, 1], [1]]
    (tmp_path / "key.npz").write_bytes(b"no archive")
    with pytest.raises(SeeFoodError, match=r"key\.npz can't be used .*; delete it"):
        remembered(tmp_path, "key", ["a"], compute)


def test_teachers_answer_the_crops_that_a_student_sees(tmp_path: Path) -> None:
    photos = scan(draw_folder(tmp_path / "photos", each=32)).take([0, 1, 40])
    path = write_tiny_model(tmp_path / "teacher.onnx")
    recipe = Recipe(epochs=5, views=2)
    ensemble = Ensemble([path, path])
    answers = ensemble.answers(photos, ["a", "b", "c"], recipe, tmp_path / "cache")
    assert answers.shape == (2, 3)
    assert not np.array_equal(answers[0], answers[1]), "another crop is another photo"
    model = Model(path)
    student = TrainingSet(photos, torch.from_numpy(answers), recipe.augmentation, ensemble.drawn)
    for index in range(3):
        pixels, target = student[index, 1, model.size]
        assert model.run(pixels[None].numpy())[0] == pytest.approx(float(target))


@pytest.mark.parametrize("content", [None, b"no model"])
def test_a_file_that_is_no_teacher_is_a_sentence(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "teacher.onnx").write_bytes(content)
    with pytest.raises(SeeFoodError, match=r"The teacher .*teacher\.onnx (can't be read|is not an ONNX file)"):
        Teacher(tmp_path / "teacher.onnx")
