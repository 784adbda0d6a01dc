"""The table in benchmarks/README.md is that of the last run, and the load generator counts right."""

import json
from pathlib import Path

import pytest

from benchmarks.load import load
from benchmarks.photos import SIZES, photo
from benchmarks.table import table
from service.photo import read_photo
from tests.conftest import ROOT
from tests.fixtures.server import serving

FOLDER = ROOT / "benchmarks"


def test_the_table_is_that_of_the_json() -> None:
    found = json.loads((FOLDER / "service.json").read_text())
    assert table(found) in (FOLDER / "README.md").read_text()


def test_a_made_photo_is_one() -> None:
    assert read_photo(photo(SIZES["0.3 MP"]), 224).std() > 20
    assert photo((64, 48), seed=1) != photo((64, 48), seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 50.0])
def test_the_load_counts_every_answer(tiny_models: Path, rate: float | None) -> None:
    with serving(tiny_models) as server:
        url = f"http://127.0.0.1:{server.port}/v1/predict"
        seen = load(url, photo((64, 48)), clients=4, seconds=2, rate=rate, warm_up=0.5)
    assert set(seen["statuses"]) == {200}
    assert seen["per_second"] == sum(seen["statuses"].values()) / 2
    assert seen["ms_200"]["p50"] <= seen["ms_200"]["p99"] <= seen["ms_200"]["max"]
