"""Tables of the included models, for docs/models.md and models/README.md."""

from typing import Any

from benchmarks.markdown import table, where

BEFORE = "before"  # key of the older version in shipped.json
MARKS = ("<!-- shipped -->", "<!-- end of shipped -->")
GROUPS = {  # table row: kinds of photos in data/stranger_test
    "faces": ("faces",),
    "people": ("people",),
    "burgers": ("burger",),
    "sandwiches": ("sandwich",),
    "hands with cartons and fruit": ("inhand", "produce"),
    "things, pets, rooms, clothes": ("things", "pets", "rooms", "clothes"),
    "fries, donuts": ("fries", "donut"),
}
TESTS = ("data/test", "data/stranger_test")
_NETWORKS = {"resnet18": "ResNet-18", "timm/tf_efficientnet_lite0": "EfficientNet-Lite0"}


def figures(found: dict[str, Any]) -> str:
    """Return the table of docs/models.md: metrics of the int8 file of each model, with 95% intervals."""
    models = list(found["models"].values())
    files = [model["files"]["int8"] for model in models]
    folders = [file["folders"] for file in files]
    called = [file["called_hotdog"] for file in files]

    def shares(folder: str, figure: str) -> list[str]:
        return [_share(each[folder][figure]) for each in folders]

    def numbers(folder: str, figure: str) -> list[str]:
        return [_number(each[folder][figure]) for each in folders]

    def called_hotdogs(name: str, key: str) -> list[str]:
        return [f"{called[0][key]['photos']:,} {name} called hotdogs", *(_share(each[key]) for each in called)]

    rows = [called_hotdogs(name, "+".join(kinds)) for name, kinds in GROUPS.items()]
    for folder, name in (("test/foods", "other foods"), ("test/objects", "other objects")):
        count = folders[0][folder]["photos"]["negative"]
        rows.append([f"{count:,} {name} called hotdogs", *shares(folder, "false_positive_rate")])
    rows.append(called_hotdogs("photos without a hotdog", "all"))
    for folder, name in (("data/stranger_test", "clear hotdogs from the web"), ("data/test", "hotdogs of data/test")):
        rows.append([f"{folders[0][folder]['photos']['positive']:,} {name} found", *shares(folder, "recall")])
    rows += [[f"accuracy, {folder}", *shares(folder, "accuracy")] for folder in TESTS]
    rows += [[f"area under the ROC curve, {folder}", *numbers(folder, "roc_auc")] for folder in TESTS]
    rows += [[f"calibration error, {folder}", *numbers(folder, "calibration_error")] for folder in TESTS]
    rows += [
        [f"accuracy of int8 minus float32, {folder}", *(_gained(model["files"], folder) for model in models)]
        for folder in TESTS
    ]
    head = ["photos not used for training", *(_heading(name, model) for name, model in found["models"].items())]
    return "\n".join([f"int8, with 95% intervals; {where(found)}:", "", *table(head, rows)])


def files(found: dict[str, Any]) -> str:
    """Return the table of models/README.md: one row for each model file."""
    rows = [
        [
            f"[{model['version']}]({model['version']}/card.md)",
            f"`{name}`",
            _network(model),
            precision,
            f"{file['bytes'] / 1e6:.1f}",
            f"{file['ms']:.1f}",
            *(_share(file["folders"][folder]["accuracy"]) for folder in TESTS),
        ]
        for name, model in found["models"].items()
        if name != BEFORE
        for precision, file in model["files"].items()
    ]
    head = ["version", "pointer", "backbone", "precision", "MB", "ms", *(f"accuracy, {folder}" for folder in TESTS)]
    about = f"ms: one photo on one thread, the median of {found['runs']} runs; {where(found)}:"
    return "\n".join([about, "", *table(head, rows)])


def _heading(name: str, model: dict[str, Any]) -> str:
    return f"{name if name == BEFORE else f'`{name}`'}: {_network(model)}, {model['version']}"


def _network(model: dict[str, Any]) -> str:
    backbone: str = model["backbone"]
    return _NETWORKS.get(backbone.partition(".")[0], backbone)  # timm appends a point and the name of the weights


def _share(metric: dict[str, float]) -> str:
    value, low, high = (f"{100 * metric[part]:.1f}" for part in ("value", "low", "high"))
    return f"{value}% ({low} - {high})"


def _number(metric: dict[str, float]) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f} - {metric['high']:.3f})"


def _gained(files: dict[str, Any], folder: str) -> str:
    """Return accuracy of int8 minus float32, in points; empty if float32 was not measured."""
    if "float32" not in files:
        return ""
    int8, float32 = (files[precision]["folders"][folder]["accuracy"]["value"] for precision in ("int8", "float32"))
    return f"{100 * (int8 - float32):+.1f} points"
