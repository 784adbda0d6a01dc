"""The included models are complete, small enough for git, and accurate on photos that were not used for training."""

import csv
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from benchmarks.shipped import FOLDERS
from scoring.score import score
from service.model import Model, Verdict, open_model
from service.photo import read_photo
from service.registry import FILES, INSIDE, POINTERS, version_of
from tests.conftest import ROOT
from tests.fixtures.server import serving
from training.export.inside import write_inside

MODELS = ROOT / "models"
MEGABYTES = {"current": {"float32": 46, "int8": 12}, "phone": {"float32": 15, "int8": 5}}
SAMPLE = 100


@pytest.fixture(params=POINTERS)
def pointer(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def version(pointer: str) -> Path:
    return MODELS / version_of(MODELS, pointer)


def test_both_files_are_there_and_small_enough_for_git(pointer: str, version: Path) -> None:
    for precision, name in FILES.items():
        assert (version / name).stat().st_size <= MEGABYTES[pointer][precision] * 1_000_000


def test_the_card_the_metrics_and_the_files_agree(version: Path) -> None:
    metrics = json.loads((version / "metrics.json").read_text())
    card = (version / "card.md").read_text()
    for name in FILES.values():
        metadata = Model(version / name).metadata
        assert metadata.version == version.name
        assert metadata.metrics == metrics
    measured = metrics.keys() & FOLDERS
    assert measured >= {"data/test", "data/stranger_test", "test/foods", "test/objects"}
    for folder in measured:
        for name, metric in metrics[folder].items():
            if name not in ("photos", "slices"):
                row = f"| {name} | {metric['value']:.3f} ({metric['low']:.3f} - {metric['high']:.3f}) |"
                assert row in card.split(f"### {folder}\n")[1].split("### ")[0]


@pytest.mark.slow
def test_it_is_right_about_real_photos_over_http(pointer: str, photos: Path) -> None:
    """A sample of the test photos is sent to the service.

    The bound is four standard deviations below the expected number.
    """
    chosen = random.Random(0).sample(sorted((photos / "test").rglob("*.jpg")), SAMPLE)  # noqa: S311
    right = 0
    with serving(MODELS, SEEFOOD_MODEL=pointer) as server:
        for path in chosen:
            (prediction,) = server.post_photos(path.read_bytes()).json()["predictions"]
            right += prediction["label"] == path.parent.name
    assert right >= 0.78 * SAMPLE


@pytest.mark.slow
def test_typical_first_photos_get_the_right_label_over_http(pointer: str, photos: Path) -> None:
    kinds = {"faces": "not_hotdog", "burger": "not_hotdog", "sandwich": "not_hotdog", "webhotdog": "hotdog"}
    first = {
        kind: min((photos / "stranger_test" / label).glob(f"{kind}-*")).read_bytes() for kind, label in kinds.items()
    }
    with serving(MODELS, SEEFOOD_MODEL=pointer) as server:
        answers = {kind: server.post_photos(photo).json()["predictions"][0]["label"] for kind, photo in first.items()}
    assert answers == kinds


@pytest.mark.slow
def test_the_accuracy_on_the_test_photos_is_the_one_it_claims(pointer: str, photos: Path) -> None:
    """Every test photo through the serving path, within what another CPU's int8 arithmetic may flip."""
    model = open_model(MODELS, pointer)
    paths = sorted((photos / "test").rglob("*.jpg"))
    right = [isinstance(one, Verdict) and one.label == path.parent.name for path, one in score(model, paths)]
    figures = model.metadata.metrics
    assert sum(right) / len(right) == pytest.approx(figures["data/test"]["accuracy"]["value"], abs=0.01)
    # The threshold was chosen for 10% hotdogs. Two thirds of these photos are hotdogs, so the ROC AUC says more than
    # the accuracy.
    assert figures["data/test"]["roc_auc"]["value"] >= 0.965
    assert figures["data/stranger_test"]["accuracy"]["value"] >= 0.97


@pytest.mark.slow
def test_float32_and_int8_give_the_same_verdicts(pointer: str, photos: Path) -> None:
    paths = sorted((photos / "test").rglob("*.jpg"))[::5]
    models = [open_model(MODELS, pointer, precision=precision) for precision in FILES]
    verdicts = [[one.label for _, one in score(model, paths) if isinstance(one, Verdict)] for model in models]
    assert len(verdicts[0]) == len(paths)
    assert sum(a != b for a, b in zip(*verdicts, strict=True)) <= 0.03 * len(paths)


@pytest.mark.slow
def test_no_test_photo_was_trained_on(version: Path, photos: Path) -> None:
    with (version / "photos.csv").open(newline="") as file:
        used = {row["sha256"] for row in csv.DictReader(file)}
    assert len(used) > 5000
    for folder in FOLDERS.values():
        tested = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (photos / folder).rglob("*.jpg")}
        assert len(tested) > 200
        assert not used & tested, folder


def test_the_file_for_the_page_inside_answers_the_same(version: Path, photos: Path, tmp_path: Path) -> None:
    write_inside(version / FILES["float32"], tmp_path / INSIDE)
    photo = next((photos / "test" / "hotdog").glob("*.jpg")).read_bytes()
    pixels = {"pixels": read_photo(photo, 224)[None]}
    own, more = (ort.InferenceSession(path) for path in (version / FILES["float32"], tmp_path / INSIDE))
    outputs = dict(zip([each.name for each in more.get_outputs()], more.run(None, pixels), strict=True))
    for name, values in zip([each.name for each in own.get_outputs()], own.run(None, pixels), strict=True):
        np.testing.assert_allclose(outputs[name], values, atol=1e-6 if name == "probability" else 1e-4, err_msg=name)
    description = json.loads(outputs["description"].tobytes())
    logit = outputs["heatmap"].mean() / description["temperature"]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(outputs["probability"][0], abs=1e-6)
    for stage in description["stages"]:
        assert outputs[stage["output"]].shape == (1, stage["channels"], stage["height"], stage["width"])
    weights = {
        each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(version / FILES["float32"]).graph.initializer
    }
    last = outputs[description["stages"][-1]["output"]]
    evidence = np.einsum("ichw,oc->ihw", last, weights["head.weight"][..., 0, 0]) + weights["head.bias"]
    np.testing.assert_allclose(evidence, outputs["heatmap"], atol=1e-3)
