"""Folders are evaluated through the code that serves."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from service.errors import SeeFoodError
from service.model import Model, open_model
from tests.fixtures.command import seefood
from tests.fixtures.drawing import encode
from tests.fixtures.painting import paint
from tests.fixtures.tiny_model import METADATA, write_old_model, write_tiny_model, write_tiny_registry
from training.evaluation.evaluate import evaluate, evaluate_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, colours in {"hotdog": ["red", "red", "blue"], "not_hotdog": ["blue", "red"]}.items():
        (tmp_path / label).mkdir()
        for number, colour in enumerate(colours):
            (tmp_path / label / f"{number}.png").write_bytes(encode(Image.new("RGB", (20, 20), colour), "PNG"))
    return tmp_path


def test_a_folder_is_evaluated(tiny_models: Path, folder: Path) -> None:
    (folder / "hotdog" / "broken.jpg").write_bytes(b"broken")
    evaluation = evaluate(open_model(tiny_models), folder)
    assert evaluation.photos == (3, 2)
    assert evaluation.metrics["accuracy"].value == pytest.approx(3 / 5)
    assert [f"{m.path.parent.name}/{m.path.name}" for m in evaluation.mistakes] == ["hotdog/2.png", "not_hotdog/1.png"]
    assert list(evaluation.unreadable) == [folder / "hotdog" / "broken.jpg"]
    assert evaluation.as_dict()["photos"] == {"positive": 3, "negative": 2}


def test_the_decisions_are_those_of_the_service(tmp_path: Path) -> None:
    """The probability of grey is 0.5, which is below this threshold, and equal to it in float32."""
    properties = replace(METADATA, threshold=0.5 + 1e-9).to_properties()
    paint(tmp_path / "photos", {"hotdog/red.png": "red", "not_hotdog/grey.png": "grey"})
    evaluation = evaluate(Model(write_tiny_model(tmp_path / "model.onnx", properties)), tmp_path / "photos")
    assert evaluation.probabilities.tolist() == [pytest.approx(1), 0.5]
    assert evaluation.mistakes == []
    assert {name: evaluation.metrics[name].value for name in ("accuracy", "f1")} == {"accuracy": 1, "f1": 1}


def test_a_folder_of_unreadable_photos_is_a_sentence(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "hotdog").mkdir()
    (tmp_path / "hotdog" / "a.jpg").write_bytes(b"broken")
    with pytest.raises(
        SeeFoodError,
        match=r"None of 1 photos .*; name another folder\. The reason for .*a\.jpg: The bytes are not",
    ):
        evaluate(open_model(tiny_models), tmp_path)


def _evaluate(models: Path, *arguments: object) -> Result:
    return seefood(models, "evaluate", *arguments)


def test_slices_have_shares_of_their_own_the_least_accurate_first(tiny_models: Path, kinds: Path) -> None:
    (kinds / "hotdog" / "raw-10.png").write_bytes(b"broken")  # an unreadable photo must not shift the others
    evaluation = evaluate(open_model(tiny_models), kinds)
    assert [(part.by, part.name, part.photos) for part in evaluation.slices] == [
        ("kind", "raw", (10, 0)),
        ("kind", "grilled", (10, 0)),
    ]
    raw = evaluation.slices[0].metrics
    assert set(raw) == {"accuracy", "recall", "unfamiliar"}
    assert str(raw["recall"]) == "0.500 (0.237 - 0.763)", "Wilson's interval of 5 in 10"
    shown = evaluation.as_dict()["slices"]["kind"]
    assert shown["grilled"]["photos"] == {"positive": 10, "negative": 0}
    assert shown["grilled"]["accuracy"]["value"] == pytest.approx(0.9)
    assert shown["raw"]["recall"]["low"] == pytest.approx(0.2366, abs=1e-4)


def test_a_slice_of_both_classes_has_both_shares(tiny_models: Path, tmp_path: Path) -> None:
    paint(tmp_path, {f"hotdog/a-{i}.png": "red" for i in range(5)} | {"hotdog/b.png": "red"})
    paint(tmp_path, {f"not_hotdog/a-{i}.png": "red" if i else "blue" for i in range(5)})
    (part,) = evaluate(open_model(tiny_models), tmp_path).slices
    assert part.photos == (5, 5)
    values = {name: metric.value for name, metric in part.metrics.items()}
    assert values == pytest.approx({"accuracy": 0.6, "recall": 1, "false_positive_rate": 0.8, "unfamiliar": 0})


@pytest.fixture
def yellow(tmp_path: Path) -> Path:
    """Return a folder of 10 faces, 4 of them unfamiliar, and 10 familiar rooms."""
    folder = tmp_path / "yellow"
    paint(folder, {f"not_hotdog/face-{i}.png": "yellow" if i < 4 else "blue" for i in range(10)})
    paint(folder, {f"not_hotdog/room-{i}.png": "blue" for i in range(10)})
    return folder


def test_the_share_of_unfamiliar_photos_is_measured_last(tiny_models: Path, yellow: Path) -> None:
    (yellow / "not_hotdog" / "face-10.png").write_bytes(b"broken")  # an unreadable photo must not shift the others
    evaluation = evaluate(open_model(tiny_models), yellow)
    assert list(evaluation.metrics) == ["accuracy", "false_positive_rate", "unfamiliar"]
    assert str(evaluation.metrics["unfamiliar"]) == "0.200 (0.081 - 0.416)", "Wilson's interval of 4 in 20"
    assert [(part.name, part.metrics["unfamiliar"].value) for part in evaluation.slices] == [("face", 0.4), ("room", 0)]
    face = evaluation.as_dict()["slices"]["kind"]["face"]
    assert list(face)[-1] == "unfamiliar"
    assert face["unfamiliar"]["low"] == pytest.approx(0.1682, abs=1e-4)


def test_a_model_that_cannot_tell_has_no_share_of_unfamiliar_photos(yellow: Path, tmp_path: Path) -> None:
    old = write_old_model(tmp_path / "old.onnx")
    evaluation = evaluate(Model(old), yellow)
    assert "unfamiliar" not in evaluation.metrics
    assert not [part for part in evaluation.slices if "unfamiliar" in part.metrics]
    result = _evaluate(tmp_path, yellow, "--slices", "--model", old)
    assert result.stdout.splitlines()[0] == "KIND   PHOTOS  CALLED HOTDOG"


def test_the_command_prints_slices(tiny_models: Path, kinds: Path) -> None:
    result = _evaluate(tiny_models, kinds)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-3:] == [
        "KIND     PHOTOS  ACCURACY               RECALL                 UNFAMILIAR",
        "raw          10  0.500 (0.237 - 0.763)  0.500 (0.237 - 0.763)  0.000 (0.000 - 0.278)",
        "grilled      10  0.900 (0.596 - 0.982)  0.900 (0.596 - 0.982)  0.000 (0.000 - 0.278)",
    ]
    as_json = json.loads(_evaluate(tiny_models, kinds, "--json").stdout)
    assert list(as_json["slices"]["kind"]) == ["raw", "grilled"]
    assert as_json["version"] == "tiny"


def test_slices_alone_have_a_row_a_kind_the_worst_first(tiny_models: Path, kinds: Path) -> None:
    paint(kinds, {f"not_hotdog/face-{i}.png": "red" if i < 6 else "blue" for i in range(10)})
    result = _evaluate(tiny_models, kinds, "--slices")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "KIND     PHOTOS  CALLED HOTDOG          RECALL                 UNFAMILIAR",
        "face         10  0.600 (0.313 - 0.832)  -                      0.000 (0.000 - 0.278)",
        "raw          10  -                      0.500 (0.237 - 0.763)  0.000 (0.000 - 0.278)",
        "grilled      10  -                      0.900 (0.596 - 0.982)  0.000 (0.000 - 0.278)",
        "(all)        42  0.273 (0.132 - 0.482)  0.700 (0.481 - 0.855)  0.000 (0.000 - 0.084)",
    ]


def test_slices_of_several_folders_name_them(tiny_models: Path, kinds: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    paint(faces, {f"not_hotdog/{i}.png": "red" if i < 6 else "blue" for i in range(10)})
    result = _evaluate(tiny_models, kinds, faces, "--slices")
    assert [(line.split()[0], line.split()[-1]) for line in result.stdout.splitlines()] == [
        ("KIND", "FOLDER"),
        ("raw", str(kinds)),
        ("grilled", str(kinds)),
        ("(all)", str(kinds)),
        ("(all)", str(faces)),
    ]
    whole = _evaluate(tiny_models, kinds, faces).stdout
    assert [whole.count(f"photos of {folder}\n") for folder in (kinds, faces)] == [1, 1]
    as_json = json.loads(_evaluate(tiny_models, kinds, faces, "--json").stdout)
    assert as_json["folders"][str(faces)]["false_positive_rate"]["value"] == pytest.approx(0.6)
    assert as_json["version"] == "tiny"


def test_sources_are_a_table_of_their_own(tiny_models: Path, kinds: Path) -> None:
    rows = [f"hotdog/grilled-{i}.png,{'phone' if i % 2 else 'web'}" for i in range(10)]
    rows += [f"not_hotdog/{i}.png,phone" for i in range(12)]
    (kinds / "MANIFEST.csv").write_text("\n".join(["path,source", *rows]) + "\n")
    kind, source = _evaluate(tiny_models, kinds, "--slices").stdout.split("\n\n")
    assert kind.startswith("KIND ")
    assert source.split()[0] == "SOURCE"
    assert source.splitlines()[1].split()[:2] == ["phone", "17"]


def test_the_phone_version_is_evaluated(kinds: Path, tmp_path: Path) -> None:
    models = write_tiny_registry(tmp_path / "registry")
    write_tiny_model(models / "small" / "model.int8.onnx", replace(METADATA, version="small").to_properties())
    (models / "phone").write_text("small\n")
    for pointer, version in (("phone", "small"), ("current", "tiny")):
        assert json.loads(_evaluate(models, kinds, "--model", pointer, "--json").stdout)["version"] == version


@pytest.mark.parametrize(
    ("label", "counts"), [("hotdog", "3 hotdog and 0 not_hotdog"), ("not_hotdog", "0 hotdog and 2 not_hotdog")]
)
def test_the_command_takes_a_folder_of_one_class(tiny_models: Path, folder: Path, label: str, counts: str) -> None:
    shutil.rmtree(folder / ({"hotdog", "not_hotdog"} - {label}).pop())
    result = _evaluate(tiny_models, folder)
    assert result.exit_code == 0, result.stderr
    assert counts in result.stdout
    assert ("recall" in result.stdout, "false positive rate" in result.stdout) == (label == "hotdog", label != "hotdog")


def test_the_command_takes_the_path_of_a_file(folder: Path, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "any.onnx", replace(METADATA, version="other").to_properties())
    result = _evaluate(tmp_path / "no-registry", folder, "--model", path, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["version"] == "other"
    assert json.loads(result.stdout)["accuracy"]["value"] == pytest.approx(3 / 5)


def test_a_file_that_is_no_seefood_model_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 8, 8, 3])
    probability = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N"])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "all"], ["probability"], keepdims=0),
    ]
    over = numpy_helper.from_array(np.array([1, 2, 3]), "all")
    graph = helper.make_graph(nodes, "bare", [pixels], [probability], [over])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    result = _evaluate(tmp_path / "no-registry", folder, "--model", path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"{path} is not a seefood model: " in result.stderr


def test_folders_are_named_by_as_many_parts_as_tell_them_apart(tiny_models: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("2025/foods/test", "2026/foods/test", "2026/test")]
    for folder in folders:
        paint(folder, {"hotdog/0.png": "red"})
    model = open_model(tiny_models)
    names = ["2025/foods/test", "2026/foods/test", f"{tmp_path.name}/2026/test"]
    assert list(evaluate_folders(model, folders)) == names
    assert list(evaluate_folders(model, folders[1:])) == ["foods/test", "2026/test"]
