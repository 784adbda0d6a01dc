"""The metrics at /metrics."""

import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import registry
from service.settings import Settings
from tests.conftest import ROOT, MakeApp
from tests.fixtures.load import until
from tests.fixtures.painting import BLUE, RED
from tests.fixtures.server import Server, serving


def _samples(text: str) -> Counter[str]:
    """Return values by sample name and labels, as `name{label="value"}`."""
    return Counter(
        {
            f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def _scrape(client: FlaskClient) -> Counter[str]:
    return _samples(client.get("/metrics").get_data(as_text=True))


def _post(client: FlaskClient, photo: bytes) -> int:
    return client.post("/v1/predict", data=photo, content_type="image/png").status_code


def test_the_documentation_has_exactly_the_metrics() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    documented = re.findall(r"^\| `(seefood_\w+)` \| (\w+) \|", page, re.MULTILINE)
    defined = [(one.name + ("_total" if one.type == "counter" else ""), one.type) for one in registry.collect()]
    assert sorted(documented) == sorted(defined)


def test_photos_and_requests_are_counted(client: FlaskClient) -> None:
    before = _scrape(client)
    assert [_post(client, photo) for photo in (RED, RED, BLUE, b"no photo")] == [200, 200, 200, 400]
    more = _scrape(client) - before
    assert more["seefood_requests_total{method=POST,route=/v1/predict,status=200}"] == 3
    assert more["seefood_requests_total{method=POST,route=/v1/predict,status=400}"] == 1
    assert more["seefood_request_duration_seconds_count{route=/v1/predict}"] == 4
    assert more["seefood_predictions_total{label=hotdog}"] == 2
    assert more["seefood_predictions_total{label=not_hotdog}"] == 1
    assert more["seefood_probability_bucket{le=0.1}"] == 1
    assert more["seefood_probability_bucket{le=0.9}"] == 1
    assert more["seefood_probability_bucket{le=1.0}"] == 3
    for name in ("decode_seconds", "queue_seconds", "inference_seconds", "batch_size"):
        assert more[f"seefood_{name}_count{{}}"] == 3
    assert more["seefood_batch_size_sum{}"] == 3


def test_the_format_follows_the_accept_header(client: FlaskClient) -> None:
    assert client.get("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client.get("/metrics", headers=asked)
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert answer.data.endswith(b"# EOF\n")


def test_model_and_version_are_exported_before_the_first_request(tiny_models: Path, make_app: MakeApp) -> None:
    samples = _scrape(make_app(Settings(models=tiny_models)).test_client())
    about = "device=cpu,file=model.int8.onnx,name=hotdog,provider=CPUExecutionProvider,version=tiny"
    assert samples[f"seefood_model_info{{{about}}}"] == 1
    assert samples[f"seefood_build_info{{version={version('seefood')}}}"] == 1
    assert "seefood_predictions_total{label=not_hotdog}" in samples
    assert samples["seefood_photos_in_flight{}"] == 0


def test_unknown_routes_and_methods_add_no_series(client: FlaskClient) -> None:
    before = _scrape(client)
    for number in range(5):
        client.get(f"/made/up/{number}")
        client.get(f"/web/{number}.js")
        client.open("/v1/predict", method=f"METHOD{number}")
    more = _scrape(client) - before
    counted = {name: value for name, value in more.items() if name.startswith("seefood_requests_total")}
    counted.pop("seefood_requests_total{method=GET,route=/metrics,status=200}")
    assert counted == {
        "seefood_requests_total{method=GET,route=unknown,status=404}": 5,
        "seefood_requests_total{method=GET,route=/web/<path:filename>,status=404}": 5,
        "seefood_requests_total{method=other,route=unknown,status=405}": 5,
    }


def test_a_refused_request_is_counted(client: FlaskClient) -> None:
    before = _scrape(client)
    admission = client.application.extensions["admission"]
    with admission.reserved(admission.max_in_flight):
        assert _post(client, RED) == 429
        assert _scrape(client)["seefood_photos_in_flight{}"] == admission.max_in_flight
    assert (_scrape(client) - before)["seefood_refused_requests_total{}"] == 1


@pytest.mark.slow
def test_a_server_counts_all_clients_and_restarts_from_zero(tiny_models: Path) -> None:
    with serving(tiny_models) as server:
        with ThreadPoolExecutor(4) as pool:
            posts = [pool.submit(server.request, "POST", "/v1/predict", RED, "image/png") for _ in range(40)]
            assert {post.result().status for post in posts} == {200}
        ours = "seefood_requests_total{method=POST,route=/v1/predict,status=200}"
        seen = _read(server)
        assert (seen[ours], seen["seefood_predictions_total{label=hotdog}"]) == (40, 40)
        assert (seen["seefood_decode_seconds_count{}"], seen["seefood_photos_in_flight{}"]) == (40, 0)
        assert (seen["seefood_max_photos_in_flight{}"], seen["seefood_model_refused_total{}"]) == (16, 0)
        before = server.workers()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(server.workers()) == 1 and server.workers() != before)
        assert _read(server)[ours] == 0


def _read(server: Server) -> Counter[str]:
    return _samples(server.request("GET", "/metrics").body.decode())
