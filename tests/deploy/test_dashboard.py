"""The dashboard's layout is valid, and it queries existing metrics from the provisioned data source."""

import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.fixtures.monitoring import CONFIG, DASHBOARD, FOLDER, Query, queries, unknown_in

PANELS = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
PROVISIONING = FOLDER / "grafana"


def test_panel_ids_are_unique() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_panels_do_not_overlap() -> None:
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24, panel["title"]
    overlapping = [(one["title"], other["title"]) for one, other in combinations(PANELS, 2) if _overlap(one, other)]
    assert overlapping == []


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    a, b = one["gridPos"], other["gridPos"]
    return bool(
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )


@pytest.mark.parametrize("panel", SHOWN, ids=[panel["title"] for panel in SHOWN])
def test_every_panel_has_a_unit_and_a_description(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    letters = [target["refId"] for target in panel["targets"]]
    assert letters
    assert letters == sorted(set(letters))


def test_the_data_source_is_provisioned() -> None:
    (provisioned,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == provisioned["type"]
    assert variables["datasource"]["current"] == {"text": provisioned["name"], "value": provisioned["uid"]}
    assert provisioned["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]
    asking = [*SHOWN, *(target for panel in SHOWN for target in panel["targets"]), variables["instance"]]
    asking += DASHBOARD["annotations"]["list"]
    assert all(one["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for one in asking)


def test_the_dashboard_path_is_documented() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "seefood.yml").read_text())["providers"]
    page = (FOLDER.parent.parent / "docs" / "monitoring.md").read_text()
    (mounted,) = re.findall(r"^\| `grafana/` \| `(.*?)`", page, re.MULTILINE)
    assert provider["options"]["path"] == f"{mounted}/dashboards"


@pytest.mark.parametrize("query", queries(), ids=[f"{query.title}: {query.legend}" for query in queries()])
def test_panels_query_existing_metrics(query: Query) -> None:
    assert unknown_in(query.expression) == set()


def test_variables_and_annotations_query_existing_metrics() -> None:
    (instances,) = [one for one in DASHBOARD["templating"]["list"] if one["name"] == "instance"]
    (alerts,) = DASHBOARD["annotations"]["list"]
    assert unknown_in(instances["definition"]) == unknown_in(alerts["expr"]) == set()
