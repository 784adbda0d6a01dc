"""A Ray cluster of two local nodes scores each photo once, even if a worker or a node is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.fixtures import predict as local
from tests.fixtures.drawing import draw, encode
from tests.fixtures.predict import count_rows, read_rows, wait_for_rows
from tests.fixtures.server import free_port

ray = pytest.importorskip("ray", reason="Ray is absent; pip install '.[bulk]'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [pytest.mark.slow, pytest.mark.alone]

_PHOTOS = 400
_PREDICT = """
import sys
from scoring import cluster
from service.cli import main
cluster._SHARD = 300  # so that the photos are submitted in two parts
main(["predict", "--ray", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Return a cluster of two nodes with one CPU each; a test may remove one."""
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
    """Return a folder of photos, one of them unreadable, that takes one CPU some seconds."""
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
    """Return a function that starts `seefood predict --ray` with the address of a cluster and more arguments."""
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
    """Return the same function for the cluster of this module."""
    return partial(predict_on, cluster.address)


def _kill_a_worker(cluster: Any) -> None:
    """Kill a worker process of either node."""
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
    """Photos that have a row are skipped here too."""
    out = tmp_path / "out.jsonl"
    for named in (f"file://{folder}/0.jpg", f"file://{folder}"):
        process = predict(named, "--out", out)
        _, stderr = process.communicate(timeout=120)
    assert stderr.endswith(f", 1 unreadable; written to {out}.\n")
    assert sorted(row["file"] for row in read_rows(out)) == sorted(f"file://{path}" for path in folder.iterdir())


def test_a_missing_cluster_is_one_sentence(
    predict_on: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    process = predict_on(address, folder, "--out", tmp_path / "out.csv")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr.startswith(f"seefood: The Ray cluster {address} can't be used: nothing listens at this address (")
    assert stderr.count("\n") == 1


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
        wait_for_rows(out, _PHOTOS // 4, process)
        harm(cluster)
        assert count_rows(out) < _PHOTOS, "the run was almost complete"
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 2, stderr
    assert stderr.endswith(f", 1 unreadable; written to {out}.\n")
    assert "Traceback" not in stderr
    rows = read_rows(out)
    assert len(rows) == _PHOTOS
    local.predict(tiny_models, folder, "--out", tmp_path / "here.jsonl")
    assert rows == read_rows(tmp_path / "here.jsonl")
