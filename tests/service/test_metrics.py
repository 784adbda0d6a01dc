"""What /metrics answers: of one process, of several, and of workers that are gone."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.metrics import registry
from service.settings import Settings
from tests.conftest import ROOT
from tests.fixtures.drawing import encode
from tests.fixtures.server import Server, serving
from tests.fixtures.tiny_model import write_tiny_registry

RED = encode(Image.new("RGB", (60, 40), (255, 0, 0)), "PNG")
BLUE = encode(Image.new("RGB", (60, 40), (0, 0, 255)), "PNG")


def _samples(text: str) -> Counter[str]:
    """Return values by sample name and labels, as `name{label="value"}`."""
    return Counter(
        {
            f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def _measure(client: FlaskClient) -> Counter[str]:
    return _samples(client.get("/metrics").get_data(as_text=True))


def _post(client: FlaskClient, photo: bytes) -> int:
    return client.post("/v1/predict", data=photo, content_type="image/png").status_code


def test_every_metric_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    documented = re.findall(r"^\| `(seefood_\w+)` \| (\w+) \|", page, re.MULTILINE)
    defined = [(one.name + ("_total" if one.type == "counter" else ""), one.type) for one in registry.collect()]
    assert sorted(documented) == sorted(defined)


def test_photos_and_requests_are_counted(client: FlaskClient) -> None:
    before = _measure(client)
    assert [_post(client, photo) for photo in (RED, RED, BLUE, b"no photo")] == [200, 200, 200, 400]
    more = _measure(client) - before
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


def test_a_scraper_gets_the_format_that_it_asks_for(client: FlaskClient) -> None:
    assert client.get("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = client.get("/metrics", headers=asked)
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert answer.data.endswith(b"# EOF\n")


def test_the_model_is_known_before_the_first_request(client: FlaskClient) -> None:
    told = _measure(client)
    about = "device=cpu,file=model.int8.onnx,name=hotdog,provider=CPUExecutionProvider,version=tiny"
    assert told[f"seefood_model_info{{{about}}}"] == 1
    assert "seefood_predictions_total{label=not_hotdog}" in told
    assert told["seefood_photos_under_way{}"] == 0


def test_what_clients_make_up_adds_no_series(client: FlaskClient) -> None:
    before = _measure(client)
    for number in range(5):
        client.get(f"/made/up/{number}")
        client.get(f"/web/{number}.js")
        client.open("/v1/predict", method=f"METHOD{number}")
    more = _measure(client) - before
    counted = {name: value for name, value in more.items() if name.startswith("seefood_requests_total")}
    counted.pop("seefood_requests_total{method=GET,route=/metrics,status=200}")
    assert counted == {
        "seefood_requests_total{method=GET,route=unknown,status=404}": 5,
        "seefood_requests_total{method=GET,route=/web/<path:filename>,status=404}": 5,
        "seefood_requests_total{method=other,route=unknown,status=405}": 5,
    }


def test_a_refused_request_is_counted(tiny_models: Path) -> None:
    app = create_app(Settings(models=tiny_models, queue=16))
    client = app.test_client()
    before = _measure(client)
    app.extensions["pipeline"].under_way = 16
    assert _post(client, RED) == 429
    assert (_measure(client) - before)["seefood_refused_requests_total{}"] == 1


def test_the_folder_of_a_killed_service_goes_at_the_next_start_and_that_of_a_running_one_stays() -> None:
    start = "import os; from service.metrics_folder import *; make(); print(os.environ[VARIABLE], flush=True); "
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS")}

    def run(then: str) -> Path:
        command = [sys.executable, "-c", start + then]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
        return Path(done.stdout.strip())

    killed = run("os.kill(os.getpid(), 9)")
    assert killed.is_dir()
    command = [sys.executable, "-c", start + "os.fork() and os._exit(0); open(0).read()"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as running:
        assert running.stdout is not None
        held = Path(running.stdout.readline().strip())
        assert running.wait(10) == 0
        stopped = run("os.fork()")
        assert (killed.exists(), stopped.exists()) == (False, False)
        assert held.is_dir(), "a worker of it still runs"
    _until(lambda: run("").is_relative_to(held.parent) and not held.exists())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Server]:
    models = write_tiny_registry(tmp_path / "models")
    with serving(models, SEEFOOD_WORKERS="2") as server:
        yield server


def _read(server: Server) -> Counter[str]:
    return _samples(server.request("GET", "/metrics").body.decode())


def _folder(server: Server) -> Path:
    (counted,) = Path("/dev/shm").glob(f"seefood-metrics-*/counter_{server.workers()[0]}.db")  # noqa: S108
    return counted.parent


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm to look into")  # noqa: S108
def test_workers_count_together_and_a_killed_one_takes_nothing_away(running: Server) -> None:
    folder = _folder(running)
    with ThreadPoolExecutor(4) as pool:
        posts = [pool.submit(running.request, "POST", "/v1/predict", RED, "image/png") for _ in range(40)]
        assert {post.result().status for post in posts} == {200}
    ours = "seefood_requests_total{method=POST,route=/v1/predict,status=200}"
    before = _read(running)
    assert (before[ours], before["seefood_predictions_total{label=hotdog}"]) == (40, 40)
    assert (before["seefood_decode_seconds_count{}"], before["seefood_photos_under_way{}"]) == (40, 0)
    assert before["seefood_photo_places{}"] == 32, "16 each"

    killed = running.workers()[0]
    os.kill(killed, signal.SIGKILL)
    _until(lambda: len(running.workers()) == 2 and killed not in running.workers())
    _until(lambda: len(list(folder.glob("gauge_livesum_*.db"))) == 2)
    _until(lambda: _read(running)["seefood_photo_places{}"] == 32)
    assert running.request("POST", "/v1/predict", RED, "image/png").status == 200
    after = _read(running)
    assert after[ours] == 41
    fell = [name for name in before if after[name] < before[name]]
    assert fell == []

    running.process.send_signal(signal.SIGHUP)
    _until(lambda: len(running.workers()) == 2 and not list(folder.glob(f"gauge_livesum_{killed}.db")))
    time.sleep(2)
    (info,) = [value for name, value in _read(running).items() if name.startswith("seefood_model_info")]
    assert (info, _read(running)[ours]) == (1, 41)
    assert running.stop() == 0
    assert not folder.exists()


def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
