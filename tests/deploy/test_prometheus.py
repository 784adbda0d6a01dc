"""Prometheus scrapes a running service: every query has a result, and every rule can be evaluated."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.drift import MIN_PHOTOS
from service.metadata import HISTOGRAM_BINS
from tests.fixtures.load import until
from tests.fixtures.monitoring import ALERTS, Prometheus, Query, prometheus, queries
from tests.fixtures.painting import BLUE, RED
from tests.fixtures.server import serving
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry


def _now(query: Query) -> str:
    """Return the expression as Grafana sends it, with days and weeks as seconds: Prometheus has just started."""
    variables = {"$__rate_interval": "10s", "$instance": ".*", "offset 1d": "offset 3s", "offset 1w": "offset 6s"}
    expression = query.expression
    for name, value in variables.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.slow
def test_prometheus_runs_the_queries_and_the_rules(tmp_path: Path) -> None:
    models = write_tiny_registry(tmp_path / "models")
    expected = replace(METADATA, probability_histogram=(1,) * HISTOGRAM_BINS)
    write_tiny_model(models / "tiny" / "model.int8.onnx", expected.to_properties())
    with serving(models) as server, prometheus(tmp_path, server.port) as running:
        for _ in range(math.ceil(MIN_PHOTOS / 16)):  # drift is a number only from so many photos on
            assert server.post_photos(*[RED, BLUE] * 8).status == 200
        unanswered = {query: _now(query) for query in queries()}
        assert len(unanswered) > 30

        def answered() -> bool:
            for query, expression in list(unanswered.items()):
                if any(math.isfinite(value) for _, value in running.query(expression)):
                    del unanswered[query]
            assert server.post_photos(RED, BLUE).status == 200
            assert server.request("POST", "/v1/predict", b"no", "image/png").status == 400
            return not unanswered

        try:
            until(answered, 60, interval=0.3)
        except AssertionError:
            pytest.fail("no answer to " + "\n".join(unanswered.values()))
        _check_legends(running)
        _check_values(running)

        until(lambda: all(rule["evaluationTime"] > 0 for rule in _rules(running).values()), 60)
        assert {name: (rule["health"], rule.get("lastError")) for name, rule in _rules(running).items()} == {
            rule["alert"]: ("ok", None) for rule in ALERTS
        }
        down = {"SeeFoodDown", "SeeFoodInstanceDown"}
        assert not {name for name in down if _rules(running)[name]["state"] != "inactive"}
        assert server.stop() == 0
        until(lambda: all(_rules(running)[name]["state"] == "pending" for name in down), 60)


def _rules(running: Prometheus) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for group in running.get("rules")["groups"] for rule in group["rules"]}


def _check_legends(running: Prometheus) -> None:
    for query in queries():
        for labels, _ in running.query(_now(query)):
            missing = set(re.findall(r"\{\{(\w+)\}\}", query.legend)) - labels.keys()
            assert not missing, query


def _check_values(running: Prometheus) -> None:
    """Compare with the requests: as many red as blue photos, and every second request without a photo."""
    answers = {f"{query.title}: {query.legend}": running.query(_now(query)) for query in queries()}
    shares = {labels["label"]: value for labels, value in answers["Verdicts by label: {{label}}"]}
    assert shares == pytest.approx({"hotdog": 0.5, "not_hotdog": 0.5})
    assert answers["Mean probability of the positive label: now"][0][1] == pytest.approx(0.5, abs=0.01)
    assert {labels["status"] for labels, _ in answers["Requests by status: {{status}}"]} == {"200", "400"}
    assert [value for _, value in answers["Photos in flight: limit of all instances"]] == [16]
    assert [value for _, value in answers["Instances that answer: "]] == [1]
    assert [value for _, value in answers["Failed requests: "]] == [0]
    ((model, one),) = answers["Model in service: "]
    assert (model["version"], model["file"], one) == ("tiny", "model.int8.onnx", 1)
    buckets = {labels["le"]: value for labels, value in answers["Probability of the positive label: {{le}}"]}
    assert len(buckets) == 11
    assert 0 < buckets["0.1"] == buckets["0.9"] == pytest.approx(buckets["+Inf"] / 2)
