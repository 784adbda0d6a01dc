"""The tables match the JSON, the load generator counts correctly, and contenders start and stop."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from benchmarks import report, serving_tables
from benchmarks.browser import __main__ as browser
from benchmarks.machine import here
from benchmarks.photos import SIZES, photo
from benchmarks.processes import Watched, watch
from benchmarks.serving import weights
from benchmarks.serving.contenders import LIMIT, PEERS, SEEFOOD
from benchmarks.serving.load import K6, Body, load
from benchmarks.serving.running import running
from benchmarks.serving.servers import preprocess
from benchmarks.training import comparison as training
from service.model import open_model
from service.photo import read_photo
from tests.conftest import ROOT
from tests.fixtures.server import serving

FOLDER = ROOT / "benchmarks"
closed_load = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
open_load = pytest.mark.skipif(not K6.exists(), reason="k6 is not installed")
SMALL = photo((64, 48))


def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "results.json").read_text())
    return found


def test_the_tables_match_the_json() -> None:
    assert f"\n{report.tables(results())}\n{report.END}" in (FOLDER / "README.md").read_text()
    assert f"\n{report.short(results())}\n{report.END}" in (ROOT / "docs" / "speed.md").read_text()
    page = (ROOT / "docs" / "page.md").read_text()
    for name, make in browser.TABLES.items():
        assert f"<!-- {name} -->\n{make(results())}\n<!-- end of {name} -->" in page


def test_the_peers_environment_has_all_that_the_benchmarks_import() -> None:
    script = """
import sys
from importlib.metadata import packages_distributions
import benchmarks.__main__
of = packages_distributions()
print(*{name for module in set(sys.modules) for name in of.get(module, [])})
"""
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {_normal(name) for name in ran.stdout.split()}
    locked = re.findall(r"^([\w.-]+)==", (FOLDER / "requirements.txt").read_text(), re.MULTILINE)
    assert "click" in imported
    assert imported <= {*map(_normal, locked), "seefood", "coverage"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@closed_load
@open_load
@pytest.mark.slow
def test_contenders_are_compared_and_the_tables_are_printed(tmp_path: Path) -> None:
    ran = watch(
        [
            sys.executable,
            "-P",
            "-m",
            "benchmarks",
            "--only",
            "serving",
            "--seconds",
            "0.5",
            "--rounds",
            "1",
            "--out",
            tmp_path,
        ]
    )
    assert ran.status == 0, ran.error()
    found = json.loads((tmp_path / "results.json").read_text())
    answers = found["serving"]["answers"]
    assert {SEEFOOD.name, "SeeFood, float32", "Flask + PyTorch under gunicorn"} <= answers.keys(), "no other packages"
    assert max(answers.values()) - min(answers.values()) < 0.01
    printed = [text for _, text in ran.lines]
    assert any(text.startswith("| SeeFood | ") for text in printed)
    assert (tmp_path / "serving.png").stat().st_size > 1000


def test_another_figure_gives_another_table() -> None:
    changed = results()
    changed["serving"]["contenders"][SEEFOOD.name]["turns"][0]["12 MP"]["per_second"] += 10
    assert report.short(changed) != report.short(results())
    assert report.tables(changed) != report.tables(results())


def test_all_contenders_ran_the_same_network() -> None:
    answers = results()["serving"]["answers"]
    assert answers.keys() == {SEEFOOD.name, *(peer.name for peer in PEERS)}
    assert max(answers.values()) - min(answers.values()) < 0.01


def test_a_contender_that_did_not_start_is_listed_as_not_measured() -> None:
    found = results()
    found["serving"]["contenders"]["Nobody"] = {"versions": {}, "command": "", "turns": [], "errors": ["It ended."]}
    assert "| Nobody | not measured |" in report.tables(found)
    assert "Nobody" not in report.short(found)


def test_ratios_are_of_the_rates_of_one_turn() -> None:
    turns = [{"12 MP": {"per_second": 5.0, "seefood": 20.0}}, {"12 MP": {"per_second": 10.0, "seefood": 30.0}}]
    assert serving_tables.ratios(turns, "12 MP") == [4, 3]


def test_each_part_names_its_machine() -> None:
    for part, found in results().items():
        assert here().keys() == found["machine"].keys(), part
    assert LIMIT in results()["serving"]


def test_a_drawn_photo_has_the_bits_per_pixel_of_a_real_one(photos: Path) -> None:
    real = []
    for path in sorted(photos.glob("test/*/*.jpg")):
        with Image.open(path) as image:
            real.append(8 * path.stat().st_size / np.prod(image.size))
    drawn = Image.open(io.BytesIO(photo((340, 256))))
    drawn.save(buffer := io.BytesIO(), "JPEG", quality=88)  # the quality of the real photos
    assert np.percentile(real, 10) < 8 * len(buffer.getvalue()) / np.prod(drawn.size) < np.percentile(real, 90)


def test_a_drawn_photo_is_a_photo() -> None:
    assert read_photo(photo(SIZES["0.3 MP"]), 224).std() > 20
    assert photo((64, 48), seed=1) != photo((64, 48), seed=2)


@pytest.mark.slow
def test_the_exported_files_answer_like_the_current_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.prepare(ROOT / "models", tmp_path)
    monkeypatch.setattr(preprocess, "WEIGHTS", tmp_path)
    model = open_model(ROOT / "models", device="cpu", precision="float32")
    pixels = np.stack([read_photo(photo((300, 200), seed), model.size) for seed in range(4)])
    images = ((pixels / np.float32(255) - preprocess.MEAN) / preprocess.STD).transpose(0, 3, 1, 2)
    threads = torch.get_num_threads()
    with torch.inference_mode():
        by_torch = preprocess.torch_network()(torch.from_numpy(images)).sigmoid().squeeze(1).numpy()
    torch.set_num_threads(threads)
    by_onnx = preprocess.onnx_session(threads=1).run(None, {"images": images})[0]
    for answers in (by_torch, by_onnx):
        assert np.abs(answers - model.run(pixels)[0]).max() < 1e-4


@closed_load
@open_load
@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("form", ["", "image"])
@pytest.mark.parametrize("rate", [None, 50.0])
def test_the_load_counts_every_answer(tiny_models: Path, tmp_path: Path, rate: float | None, form: str) -> None:
    with serving(tiny_models) as server:
        url = f"http://127.0.0.1:{server.port}/v1/predict"
        seen = load(url, Body.of(SMALL, tmp_path, form), clients=4, seconds=2, rate=rate, warm_up=0.5)
    assert set(seen["statuses"]) == {"200"}
    assert seen["per_second"] == seen["statuses"]["200"] / 2
    assert seen["answered"] >= seen["statuses"]["200"]
    assert seen["ms_200"]["p50"] <= seen["ms_200"]["p99"] <= seen["ms_200"]["p99.9"] <= seen["ms_200"]["max"]


@open_load
@pytest.mark.alone
@pytest.mark.slow
def test_an_open_load_measures_a_stall(tmp_path: Path) -> None:
    with _stub(HTTPServer, seconds=0.2) as url:  # one request at a time: five per second of ten
        seen = load(url, Body.of(SMALL, tmp_path), clients=50, seconds=3, rate=10, warm_up=0)
    assert seen["dropped"] == 0
    assert seen["ms_200"]["max"] > 2 * 200  # each request waits for those before it


@open_load
@pytest.mark.alone
@pytest.mark.slow
def test_an_open_load_counts_dropped_requests(tmp_path: Path) -> None:
    with _stub(ThreadingHTTPServer, seconds=0.5) as url:
        seen = load(url, Body.of(SMALL, tmp_path), clients=1, seconds=2, rate=20, warm_up=0)
    assert seen["dropped"] > 0


@closed_load
@pytest.mark.alone
@pytest.mark.slow
def test_other_statuses_are_counted_separately(tmp_path: Path) -> None:
    with _stub(ThreadingHTTPServer, status=503) as url:
        seen = load(url, Body.of(SMALL, tmp_path), clients=2, seconds=1, warm_up=0.2)
    assert set(seen["statuses"]) == {"503"}
    assert seen["per_second"] == seen["answered"] == 0


def test_a_command_is_watched() -> None:
    # Memory is measured every quarter of a second, so the command has to run for longer.
    script = "import os, sys, time; print(os.environ['GREETING'], flush=True); time.sleep(1); sys.exit(3)"
    watched = watch([sys.executable, "-c", script], settings={"GREETING": "hello"})
    assert [text for _, text in watched.lines] == ["hello"]
    assert watched.error() == "exit status 3 | hello"
    assert watched.seconds > 1
    assert watched.peak_mb > 1


def test_a_command_that_takes_too_long_is_killed() -> None:
    watched = watch([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.5)
    assert watched.status is None
    assert watched.error() == "killed at the time limit"


def test_the_events_of_a_trainer_give_its_rate() -> None:
    lines = ['{"photos": 16}', "a warning", '{"epoch": 1, "accuracy": 0.75}']
    watched = Watched(0, 5.0, tuple(zip((1.0, 2.0, 3.0), lines, strict=True)), 100.0)
    found = training._summary(watched, training._read_script(watched))
    assert (found["photos_per_second"], found["best_accuracy"], found["training_began"]) == (8.0, 0.75, 1.0)


@pytest.mark.slow
@pytest.mark.slow
def test_the_scorer_with_pytorch_writes_a_row_for_each_photo(tmp_path: Path) -> None:
    folder, model, out = tmp_path / "photos", tmp_path / "model.pth", tmp_path / "out.csv"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(SMALL)
    torch.save(resnet18(num_classes=2).state_dict(), model)
    ran = watch([sys.executable, "-P", "-m", "benchmarks.scoring.pytorch_scorer", folder, model, out])
    assert ran.status == 0, ran.error()
    rows = list(csv.reader(out.read_text(encoding="utf-8").splitlines()))
    assert [row[0] for row in rows] == [str(folder / f"{number}.jpg") for number in range(3)]
    assert all(sum(map(float, row[1:])) == pytest.approx(1) for row in rows)


def test_a_contender_is_started_paused_and_stopped(tiny_models: Path, tmp_path: Path) -> None:
    with running(SEEFOOD, Body.of(SMALL, tmp_path), settings={"SEEFOOD_MODELS": str(tiny_models)}) as run:
        assert run.ready_seconds > 0
        pids = [process.pid for process in run.tree()]
        assert len(pids) > 1
        with run.paused():
            until = time.monotonic() + 10
            while {process.status() for process in run.tree()} != {psutil.STATUS_STOPPED}:
                assert time.monotonic() < until
        seconds, megabytes = run.usage()
        assert seconds > 0
        assert megabytes > 10
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_a_contender_that_ends_is_reported_with_its_output(tmp_path: Path) -> None:
    broken = replace(SEEFOOD, command=(sys.executable, "-c", "raise SystemExit('no such network')"))
    with (
        pytest.raises(RuntimeError, match=r"SeeFood did not start.*no such network"),
        running(broken, Body.of(SMALL, tmp_path)),
    ):
        pass


@contextmanager
def _stub(server: type[HTTPServer], *, status: int = 200, seconds: float = 0.0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(seconds)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
            pass

    stub = server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=stub.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{stub.server_address[1]}/predict"
    finally:
        stub.shutdown()
        thread.join()
        stub.server_close()
