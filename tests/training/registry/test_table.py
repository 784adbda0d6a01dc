"""The table of versions shows the pointers, and fits into the terminal."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.fixtures.command import seefood
from training.registry.store import HISTORY, METRICS, versions
from training.registry.table import tabulate


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry with a former version, the current one, and a candidate without intervals."""
    measured = {
        "accuracy": {"value": 0.942, "low": 0.919, "high": 0.959},
        "roc_auc": {"value": 0.985, "low": 0.976, "high": 0.992},
    }
    bare = {"accuracy": {"value": 0.5}, "roc_auc": {"value": 0.625}}
    for name, validation in {"1": measured, "2": measured, "3": bare}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / METRICS).write_text(json.dumps({"validation": validation}))
    (tmp_path / "2" / "card.md").write_text("---\nname: pets\nbackbone: densenet121\n---\n\nbackbone: none\n")
    (tmp_path / "3" / "card.md").write_bytes(b"\xff no card")
    (tmp_path / "current").write_text("2\n")
    history = [{"version": name, "action": "promote", "why": "", "time": ""} for name in ("1", "2")]
    (tmp_path / HISTORY).write_text("".join(json.dumps(entry) + "\n" for entry in history))
    return tmp_path


def _lines(models: Path, columns: int) -> list[str]:
    return tabulate(models, versions(models), columns).splitlines()


def test_a_wide_terminal_shows_intervals(models: Path) -> None:
    assert _lines(models, 100) == [
        "  VERSION  BACKBONE     ACCURACY               ROC AUC                STATE",
        "  1                     0.942 (0.919 - 0.959)  0.985 (0.976 - 0.992)  former",
        "* 2        densenet121  0.942 (0.919 - 0.959)  0.985 (0.976 - 0.992)  current",
        "  3                     0.500                  0.625                  candidate",
    ]


def test_a_narrow_terminal_shows_the_values(models: Path) -> None:
    assert _lines(models, 60)[2] == "* 2        densenet121  0.942     0.985    current"


def test_without_a_card_there_is_no_column_of_backbones(models: Path) -> None:
    (models / "2" / "card.md").unlink()
    assert _lines(models, 60)[0].split() == ["VERSION", "ACCURACY", "ROC", "AUC", "STATE"]


def test_a_version_that_came_back_is_current(models: Path) -> None:
    (models / "current").write_text("1\n")
    assert [line.split()[-1] for line in _lines(models, 60)[1:]] == ["current", "former", "candidate"]


def test_both_pointers_are_shown(models: Path) -> None:
    (models / "phone").write_text("3\n")
    assert [line.split()[-1] for line in _lines(models, 60)[1:]] == ["former", "current", "phone"]
    (models / "phone").write_text("2\n")
    assert _lines(models, 60)[2] == "* 2        densenet121  0.942     0.985    current, phone"


def _list(models: Path, *arguments: str, columns: int = 100) -> Result:
    return seefood(models, "models", *arguments, COLUMNS=str(columns))


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_the_command_fits_the_terminal(models: Path, arguments: tuple[str, ...]) -> None:
    assert "0.942 (0.919 - 0.959)" in _list(models, *arguments).stdout
    assert "0.919" not in _list(models, *arguments, columns=60).stdout


@pytest.mark.parametrize("line", ["{", "[]", '{"version": []}', "{}"])
def test_a_damaged_history_is_a_sentence(models: Path, line: str) -> None:
    (models / HISTORY).write_text(line + "\n")
    result = _list(models)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "can't be read" in result.stderr
