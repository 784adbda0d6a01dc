"""The tables of the included models agree with shipped.json, the model files and the cards."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import report
from benchmarks.shipped import FOLDERS, KINDS, RESULTS, STRANGERS, measure_shipped
from benchmarks.shipped_tables import BEFORE, GROUPS, MARKS, figures, files
from service.errors import SeeFoodError
from service.registry import FILES, POINTERS, version_of
from tests.conftest import ROOT
from tests.fixtures.tiny_model import write_tiny_model

MODELS = ROOT / "models"
MODELS_PAGE = ROOT / "docs" / "models.md"
RED, BLUE = (255, 0, 0), (0, 0, 255)  # the tiny model predicts hotdog for red, and not for blue


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text())
    return found


def _share(value: float, photos: int) -> dict[str, float]:
    return {"photos": photos, "value": value, "low": value - 0.002, "high": value + 0.002}


def _figures(value: float) -> dict[str, Any]:
    """Return invented figures of one model file."""
    plain = {"value": value, "low": value - 0.01, "high": value + 0.01}
    names = ("accuracy", "roc_auc", "recall", "false_positive_rate", "calibration_error")
    folder = {"photos": {"positive": 1200, "negative": 30}, **dict.fromkeys(names, plain)}
    keys = [*("+".join(kinds) for kinds in GROUPS.values()), "all"]
    called = {key: _share((1 + number) / 100, 10 * number) for number, key in enumerate(keys)}
    return {"folders": dict.fromkeys(FOLDERS, folder), "called_hotdog": called}


def made_up() -> dict[str, Any]:
    int8, float32 = {"bytes": 3_840_000, "ms": 8.24, **_figures(0.9)}, {"bytes": 13_500_000, "ms": 12, **_figures(0.91)}
    both = {"int8": int8, "float32": float32}
    return {
        "machine": {"cpus": 2, "cpu": "A", "date": "2026-01-02", "commit": "abc"},
        "runs": 50,
        "models": {
            "current": {"version": "2", "backbone": "resnet18", "files": both},
            "phone": {"version": "3", "backbone": "timm/tf_efficientnet_lite0.in1k", "files": both},
            BEFORE: {"version": "1", "backbone": "another", "files": {"int8": int8}},
        },
    }


def test_the_tables_are_those_of_the_json() -> None:
    start, end = MARKS
    assert f"\n{start}\n{figures(results())}\n{end}\n" in MODELS_PAGE.read_text()
    assert f"\n{start}\n{files(results())}\n{end}\n" in (MODELS / "README.md").read_text()


def test_the_json_is_of_the_files_that_are_there() -> None:
    shipped = {name: model for name, model in results()["models"].items() if name != BEFORE}
    versions = {name: version_of(MODELS, name) for name in POINTERS}
    assert {name: model["version"] for name, model in shipped.items()} == versions
    for model in shipped.values():
        sizes = {precision: (MODELS / model["version"] / file).stat().st_size for precision, file in FILES.items()}
        assert {precision: file["bytes"] for precision, file in model["files"].items()} == sizes


@pytest.mark.parametrize("name", POINTERS)
def test_the_figures_are_the_cards(name: str) -> None:
    """They agree within one photo, because int8 arithmetic of another CPU can change a prediction."""
    model = results()["models"][name]
    metrics = json.loads((MODELS / model["version"] / "metrics.json").read_text())
    found = model["files"]["int8"]
    for folder in FOLDERS:
        _agree(found["folders"][folder], metrics[folder])
    kinds = metrics[STRANGERS]["slices"]["kind"]
    for kind in KINDS:
        count = found["called_hotdog"][kind]["photos"]
        counts = {"photos": {"positive": 0, "negative": count}}
        _agree({**counts, "false_positive_rate": found["called_hotdog"][kind]}, kinds[kind])


def _agree(found: dict[str, Any], claimed: dict[str, Any]) -> None:
    assert found["photos"] == claimed["photos"]
    positive, negative = found["photos"]["positive"], found["photos"]["negative"]
    photos = {"accuracy": positive + negative, "recall": positive, "false_positive_rate": negative}
    for figure in found.keys() - {"photos"}:
        within = 1 / photos[figure] + 1e-9 if figure in photos else 0.005
        assert found[figure]["value"] == pytest.approx(claimed[figure]["value"], abs=within), figure


def test_the_text_around_the_tables_has_no_figures() -> None:
    start, end = MARKS
    for text in (
        MODELS_PAGE.read_text(),
        (MODELS / "README.md").read_text().split("\n## Which one to take\n")[1],
    ):
        before, rest = text.split(f"\n{start}\n")
        assert not re.search(r"\d[.,]\d|%|20\d{6}", before + rest.split(f"{end}\n")[1])


def test_the_table_of_figures() -> None:
    made = figures(made_up()).splitlines()
    assert made[0] == "int8, with 95% intervals; 2 CPUs of A, 2026-01-02, commit abc:"
    assert made[2] == (
        "| photos not used for training "
        "| `current`: ResNet-18, 2 | `phone`: EfficientNet-Lite0, 3 | before: another, 1 |"
    )
    rows = {cells[1]: cells[2:-1] for cells in (re.split(r" ?\| ?", line) for line in made[4:])}
    assert rows["20 burgers called hotdogs"] == 3 * ["3.0% (2.8 - 3.2)"]
    assert rows["40 hands with cartons and fruit called hotdogs"] == 3 * ["5.0% (4.8 - 5.2)"]
    assert rows["30 other foods called hotdogs"] == 3 * ["90.0% (89.0 - 91.0)"]
    assert rows["1,200 hotdogs of data/test found"] == 3 * ["90.0% (89.0 - 91.0)"]
    assert rows["area under the ROC curve, data/test"] == 3 * ["0.900 (0.890 - 0.910)"]
    assert rows["accuracy of int8 minus float32, data/test"] == ["-1.0 points", "-1.0 points", ""]


def test_the_table_of_files() -> None:
    made = files(made_up()).splitlines()
    assert made[0] == "ms: one photo on one thread, the median of 50 runs; 2 CPUs of A, 2026-01-02, commit abc:"
    assert len(made[4:]) == 4, "the older version has no file in the registry"
    assert made[6].startswith(
        "| [3](3/card.md) | `phone` | EfficientNet-Lite0 | int8 | 3.8 | 8.2 | 90.0% (89.0 - 91.0) |"
    )


def test_each_figure_is_in_a_table() -> None:
    """A change of any figure changes the table of docs/models.md."""
    found = made_up()
    int8 = ("models", "phone", "files", "int8")
    for keys in (
        *((*int8, "called_hotdog", key) for key in found["models"]["phone"]["files"]["int8"]["called_hotdog"]),
        *(
            (*int8, "folders", folder, figure)
            for folder in ("data/test", STRANGERS)
            for figure in ("accuracy", "roc_auc", "recall", "calibration_error")
        ),
        *((*int8, "folders", folder, "false_positive_rate") for folder in ("test/foods", "test/objects")),
    ):
        changed = json.loads(json.dumps(found))  # a deep copy: the invented figures share objects
        metric = changed
        for key in keys:
            metric = metric[key]
        metric["value"] += 0.1
        assert figures(changed) != figures(found), keys


def _photo(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), colour).save(path)


@pytest.mark.slow
def test_small_folders_are_measured(tmp_path: Path) -> None:
    """One face of two and one object of four are red; all other photos have the colour of their label."""
    models, data = tmp_path / "models", tmp_path / "data"
    for name in ("model.onnx", "model.int8.onnx"):
        write_tiny_model(models / "tiny" / name)
    (models / "current").write_text("tiny\n")
    for folder in FOLDERS.values():
        for number in range(4):
            _photo(data / folder / "not_hotdog" / f"{number}.png", BLUE)
    _photo(data / FOLDERS["test/objects"] / "not_hotdog" / "0.png", RED)
    for folder in ("test", "stranger_test"):
        _photo(data / folder / "hotdog" / "webhotdog-1.png", RED)
    with pytest.raises(SeeFoodError, match="stranger_test has no photo without a hotdog whose name begins with faces-"):
        measure_shipped(models, data)
    for kind in KINDS:
        _photo(data / "stranger_test" / "not_hotdog" / f"{kind}-1.png", BLUE)
    _photo(data / "stranger_test" / "not_hotdog" / "faces-2.png", RED)

    found = measure_shipped(models, data, before=models / "tiny" / "model.onnx")

    assert {name: list(model["files"]) for name, model in found["models"].items()} == {
        "current": list(FILES),
        BEFORE: ["int8"],
    }
    file = found["models"]["current"]["files"]["int8"]
    called = {key: (seen["photos"], seen["value"]) for key, seen in file["called_hotdog"].items()}
    assert called.pop("faces") == (2, 0.5)
    assert called.pop("all") == (16 + 13, pytest.approx(2 / 29))
    assert called.pop("things+pets+rooms+clothes") == (4, 0)
    assert {value for _, value in called.values()} == {0}
    assert file["folders"]["test/objects"]["false_positive_rate"]["value"] == 0.25
    assert file["folders"]["data/test"]["roc_auc"]["value"] == 1
    assert file["bytes"] == (models / "tiny" / "model.int8.onnx").stat().st_size
    assert file["ms"] > 0
    _tables_are_written({"machine": made_up()["machine"], **found}, tmp_path)


def _tables_are_written(found: dict[str, Any], folder: Path) -> None:
    start, end = MARKS
    for tables, page in ((figures, MODELS_PAGE), (files, MODELS / "README.md")):
        copied = Path(shutil.copy(page, folder / "README.md"))
        report.write(found, copied, tables, MARKS)
        report.write(found, copied, tables, MARKS)
        assert copied.read_text().count(f"\n{start}\n{tables(found)}\n{end}\n") == 1
        assert copied.read_text().split(start)[0] == page.read_text().split(start)[0]
