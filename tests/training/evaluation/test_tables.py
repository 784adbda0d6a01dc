"""Tables of evaluations."""

from dataclasses import replace
from pathlib import Path

from service.model import Model, open_model
from tests.fixtures.painting import paint
from tests.fixtures.tiny_model import METADATA, write_tiny_model
from training.evaluation.evaluate import evaluate
from training.evaluation.tables import comparison_table, slice_tables


def test_two_models_are_compared_in_a_table(kinds: Path, tmp_path: Path) -> None:
    """The old model has a threshold of 1, so it never predicts the positive label."""
    paint(kinds, {f"hotdog/mixed-{i}.png": "red" for i in range(4)})
    paint(kinds, {f"not_hotdog/mixed-{i}.png": "red" if i < 4 else "blue" for i in range(6)})
    now, before = (
        evaluate(Model(write_tiny_model(tmp_path / name, replace(METADATA, threshold=level).to_properties())), kinds)
        for name, level in (("now.onnx", 0.5), ("before.onnx", 1.0))
    )
    heading, *rows = comparison_table(now, before, ("hotdog", "not_hotdog"), "v1")
    assert heading == ("kind", "label", "photos", "called hotdog, this version", "called hotdog, version v1 before")
    assert [(*row[:3], *(figure[:5] for figure in row[3:])) for row in rows] == [
        ("raw", "hotdog", "10", "0.500", "0.000"),
        ("mixed", "hotdog", "4", "1.000", "0.000"),
        ("mixed", "not_hotdog", "6", "0.667", "0.000"),
        ("grilled", "hotdog", "10", "0.900", "0.000"),
        ("(all)", "hotdog", "24", "0.750", "0.000"),
        ("(all)", "not_hotdog", "18", "0.222", "0.000"),
    ]
    assert rows[0][3:] == ("0.500 (0.237 - 0.763)", "0.000 (0.000 - 0.278)")


def test_a_table_leaves_out_what_no_slice_has(tiny_models: Path, kinds: Path) -> None:
    (rows,) = slice_tables(evaluate(open_model(tiny_models), kinds).slices).values()
    assert rows[0] == ("kind", "photos", "accuracy", "recall", "unfamiliar")
    assert rows[1][:2] == ("raw", "10")
    assert slice_tables([]) == {}
