"""Prometheus accepts the configuration and the rules, each alert fires when it should, and each is documented."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from tests.conftest import ROOT, MakeApp
from tests.fixtures.monitoring import ALERTS, CONFIG, FOLDER, queries, tool, unknown_in


def _promtool(*arguments: str) -> None:
    done = subprocess.run([tool("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid() -> None:
    _promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")


def test_the_rules_are_valid() -> None:
    _promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")


@pytest.mark.slow
def test_every_alert_fires_when_it_should() -> None:
    _promtool("test", "rules", "alerts.test.yml")


def test_every_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in ALERTS}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_every_alert_has_a_reason_and_a_description() -> None:
    text = (FOLDER / "alerts.yml").read_text()
    assert len(re.findall(r"^ +# .+\n +- alert:", text, re.MULTILINE)) == len(ALERTS), "each rule has a comment"
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["annotations"]["description"].endswith(".")


def test_the_documentation_has_exactly_the_alerts() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    documented = re.findall(r"^\| `(SeeFood\w+)` \| (\w+) \|", page, re.MULTILINE)
    assert documented == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_rules_query_existing_metrics(rule: dict[str, str]) -> None:
    assert unknown_in(rule["expr"]) == set()


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("rate(seefood_request_total[5m])", {"seefood_request_total"}),
        ("rate(seefood_decode_seconds[5m])", {"seefood_decode_seconds"}),
        ("other_total{x='y'}", {"other_total"}),
        ('seefood_requests_total{code="200",status!="x=1"}', {"seefood_requests_total{code}"}),
        ("sum by (route) (seefood_predictions_total)", {"route"}),
        ("sum by (le, label) (seefood_predictions_total)", {"le"}),
    ],
)
def test_unknown_metrics_and_labels_are_found(expression: str, unknown: set[str]) -> None:
    assert unknown_in(expression) == unknown


def test_expressions_use_existing_routes(routes: set[str]) -> None:
    expressions = [rule["expr"] for rule in ALERTS] + [query.expression for query in queries()]
    asked = {pattern for one in expressions for pattern in re.findall(r'route=~?"([^"]*)"', one)}
    assert asked, "the expressions contain routes"
    for pattern in (part for whole in asked for part in whole.split("|")):
        assert any(re.fullmatch(pattern, route) for route in routes), pattern


@pytest.fixture
def routes(make_app: MakeApp, tiny_models: Path) -> set[str]:
    app = make_app(Settings(models=tiny_models))
    return {rule.rule for rule in app.url_map.iter_rules()}


def test_the_rules_and_the_configuration_name_one_job() -> None:
    (job,) = CONFIG["scrape_configs"]
    assert {name for rule in ALERTS for name in re.findall(r'job="(\w+)"', rule["expr"])} == {job["job_name"]}
    (found,) = job["dns_sd_configs"]
    assert (found["type"], found["port"]) == ("A", Settings().port)
