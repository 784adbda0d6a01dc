"""A Ray cluster of two nodes on this machine answers each photo once, whatever of it is killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.fixtures.drawing import draw, encode
from tests.fixtures.server import free_port
from tests.scoring.test_bulk import score_here

ray = pytest.importorskip("ray", reason="Ray is absent; pip install 'seefood[bulk]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.slow

_PHOTOS = 400
_PREDICT = """
import sys
from scoring import cluster
from service.cli import main
cluster._SHARD = 300  # so that the photos are given in two parts
main(["predict", "--ray", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return two nodes with one CPU each, of which a test may take one away."""
    nodes = {"num_cpus": 1, "object_store_memory": 100_000_000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=nodes | {"include_dashboard": False})
        try:
            cluster.add_node(**nodes)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos, one that can't be read among them, that takes one CPU some seconds."""
    folder = tmp_path_factory.mktemp("many")
    originals = [folder / f"{red}.jpg" for red in (0, 90, 255)]
    for number, original in enumerate(originals):
        original.write_bytes(encode(draw("hotdog", number, (2400, 1800))))
    for number in range(len(originals), _PHOTOS - 1):
        (folder / f"{number:04}.jpg").hardlink_to(originals[number % len(originals)])
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture
def predict_on(tiny_models: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return what starts `seefood predict --ray` on a cluster's address, with further arguments."""
    started = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _PREDICT, *map(str, arguments)]
        environment = os.environ | {"SEEFOOD_MODELS": str(tiny_models), "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def predict(predict_on: Callable[..., subprocess.Popen[str]], cluster: Any) -> Callable[..., subprocess.Popen[str]]:
    """Return the same on the cluster of this module."""
    return partial(predict_on, cluster.address)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _wait_for_rows(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline, "it was too slow"
        time.sleep(0.02)


def _kill_a_worker(cluster: Any) -> None:
    """Kill a process that scores, of either node."""
    for node in cluster.list_all_nodes():
        raylet = node.all_processes["raylet"][0].process.pid
        for child in Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split():
            if b"MapWorker" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
                return
    pytest.fail("no worker runs")


def _remove_a_node(cluster: Any) -> None:
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)


def test_photos_under_a_url(predict: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path) -> None:
    """What is already there is left out here too."""
    out = tmp_path / "out.jsonl"
    for named in (f"file://{folder}/0.jpg", f"file://{folder}"):
        process = predict(named, "--out", out)
        _, said = process.communicate(timeout=120)
    assert said.endswith(f", 1 unreadable; written to {out}.\n")
    assert sorted(row["file"] for row in _rows(out)) == sorted(f"file://{path}" for path in folder.iterdir())


def test_a_cluster_that_is_not_there_is_a_sentence(
    predict_on: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    process = predict_on(address, folder, "--out", tmp_path / "out.csv")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith(f"seefood: The Ray cluster {address} can't be used: nobody listens there (")
    assert said.count("\n") == 1


@pytest.mark.parametrize("harm", [None, _kill_a_worker, _remove_a_node])
def test_each_photo_is_scored_once_as_it_is_here(
    harm: Callable[[Any], None] | None,
    cluster: Any,
    predict: Callable[..., subprocess.Popen[str]],
    folder: Path,
    tiny_models: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.jsonl"
    process = predict(folder, "--out", out)
    if harm is not None:
        _wait_for_rows(out, _PHOTOS // 4, process)
        harm(cluster)
        assert out.read_bytes().count(b"\n") < _PHOTOS, "it was harmed too late to matter"
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert said.endswith(f", 1 unreadable; written to {out}.\n")
    assert "Traceback" not in said
    rows = _rows(out)
    assert len(rows) == _PHOTOS
    expected = score_here(folder, tiny_models, tmp_path / "here.jsonl")
    assert sorted(rows, key=lambda row: row["file"]) == sorted(expected, key=lambda row: row["file"])
