"""The packages of training import each other in one direction only."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From the lowest layer to the highest; each may import those before it.
LAYERS = (
    "config",
    "terminal",
    "registry",
    "data",
    "model",
    "export",
    "evaluation",
    "records",
    "report",
    "train",
    "learn_curve",
    "retrain",
    "cli",
)
# What a reader opens to follow a folder from the command to the exported files: the modules with a function that runs
# there, with pretrained weights and without teachers, label list and inbox.
MAIN_PATH = {
    "training.cli",
    "training.config",
    "training.train",
    *(f"training.data.{name}" for name in ("photos", "checks", "cache", "dataset")),
    *(f"training.model.{name}" for name in ("backbones", "classifier", "fit", "lit_classifier", "calibration")),
    "training.model.devices",
    "training.export.onnx_export",
    "training.registry.store",
}
OPTIONS = {"training.data.accepted", "training.data.label_list", "training.model.distillation"}
AFTER_THE_EXPORT = ("evaluation", "report")
# Of records.py, only the declarations of the two records are needed before; photo_list.py writes a file of a version.
LATER = {"training.export.layer_table", "training.records", "training.registry.photo_list", "training.terminal"}
SOURCES = sorted((ROOT / "training").rglob("*.py"))


def _layer(module: str) -> str:
    """Return the layer of a module such as `training.data.photos`; empty for the package itself."""
    return (*module.split("."), "")[1]


def _imports(path: Path) -> set[str]:
    """Return the modules that a file imports, inside functions too; `from a import b` counts as a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _imported_layers(path: Path) -> set[str]:
    layers = {_layer(module) for module in _imports(path) if module.split(".")[0] == "training"}
    return (layers & set(LAYERS)) - {_own_layer(path)}


def _own_layer(path: Path) -> str:
    return path.relative_to(ROOT / "training").with_suffix("").parts[0]


def test_every_module_belongs_to_a_layer() -> None:
    assert {_own_layer(path) for path in SOURCES} == {*LAYERS, "__init__"}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_lower_layers_only(layer: str) -> None:
    files = [path for path in SOURCES if _own_layer(path) == layer]
    assert files
    allowed = set(LAYERS[: LAYERS.index(layer)])
    upward = {str(path.relative_to(ROOT)): found for path in files if (found := _imported_layers(path) - allowed)}
    assert upward == {}


def test_imports_are_found() -> None:
    found = {layer: set().union(*(_imported_layers(p) for p in SOURCES if _own_layer(p) == layer)) for layer in LAYERS}
    assert found["train"] >= {"config", "registry", "data", "model", "export", "evaluation", "records", "report"}
    assert found["cli"] >= {"train", "config"}
    assert all(found[package] for package in ("registry", "data", "model", "export", "evaluation", "report"))


def test_the_service_and_the_scorer_import_nothing_of_training() -> None:
    files = [*(ROOT / "service").rglob("*.py"), *(ROOT / "scoring").rglob("*.py")]
    assert len(files) > 20
    assert [path for path in files if any(module.split(".")[0] == "training" for module in _imports(path))] == []


def test_modules_of_one_package_import_each_other_in_one_direction() -> None:
    graph = {_module(path): {name for name in _imports(path) if name.startswith("training.")} for path in SOURCES}
    graph = {module: imported & graph.keys() for module, imported in graph.items()}
    assert sum(map(len, graph.values())) > 50
    while leaves := {module for module, imported in graph.items() if not imported}:
        graph = {module: imported - leaves for module, imported in graph.items() if module not in leaves}
    assert graph == {}, "these modules are in a cycle of imports, or import one that is"


def test_a_folder_reaches_its_model_in_few_files() -> None:
    """All modules that the orchestrator imports, directly or not, are on the path, an option, or needed later."""
    graph = {_module(path): {name for name in _imports(path) if name.startswith("training.")} for path in SOURCES}
    reached, new = set(), {"training.train"}
    while new:
        reached |= new
        new = set().union(*(graph[module] for module in new)) & graph.keys() - reached
    modules = {module for module in reached if (ROOT / f"{module.replace('.', '/')}.py").exists()}
    before = {module for module in modules if _layer(module) not in AFTER_THE_EXPORT}
    assert before | {"training.cli"} == MAIN_PATH | OPTIONS | LATER
    assert len(MAIN_PATH) <= 15


def test_the_layout_lists_these_files() -> None:
    _, count, rest = re.split(r"These (\d+) files", (ROOT / "docs" / "layout.md").read_text(encoding="utf-8"))
    table, _, _ = rest.partition("\n\n`")
    assert sorted(re.findall(r"`(training/[\w/]+)\.py`", table)) == sorted(name.replace(".", "/") for name in MAIN_PATH)
    assert int(count) == len(MAIN_PATH)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
