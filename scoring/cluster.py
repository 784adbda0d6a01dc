"""Score photos on a Ray cluster; its workers run the same code as a local run."""

import json
import logging
import os
import socket
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import loky
import pyarrow as pa
import ray
import ray.data

from scoring.score import AnyAddress, Outcome, score
from scoring.sources import Address, address
from service.errors import SeeFoodError
from service.model import Model, Verdict

_BLOCK = 32  # photos per task; the photos of a killed task are scored again
_SHARD = 100_000  # photos that are submitted, and kept in memory, at a time
_URL_THREADS = 8  # per worker of one CPU, because reading an object takes longer than scoring it


class _Worker:
    """A process with the model on one CPU of the cluster."""

    def __init__(self, model: Any) -> None:
        self._model = _open(ray.get(model))

    def __call__(self, block: pa.Table) -> pa.Table:
        photos = [address(os.fsdecode(photo)) for photo in block["photo"].to_pylist()]
        threads = _URL_THREADS if any(isinstance(photo, str) for photo in photos) else 1
        outcomes = [each if isinstance(each, str) else asdict(each) for _, each in score(self._model, photos, threads)]
        return pa.table({"number": block["number"], "outcome": pa.array(map(json.dumps, outcomes), pa.string())})


def _open(content: bytes) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(content)
        return Model(file)


def _check(content: bytes) -> None:
    _open(content)


def score_on(
    cluster: str, model: Model, photos: Iterator[AnyAddress]
) -> Generator[tuple[AnyAddress, Outcome], None, None]:
    """Yield each photo once, in any order, with its verdict or with the reason why it can't be read.

    Each CPU of the cluster runs a worker with a copy of the model. If one is killed, another one scores its photos.

    Args:
        cluster: HOST:PORT, `auto` (a cluster that runs on this machine) or `local` (a new one for this run).
        model: its file is sent to the cluster.
        photos: URLs, or files with the same path on every machine.

    Raises:
        SeeFoodError: the cluster can't be reached or used.
    """
    with _connected(cluster):
        content = ray.put(model.path.read_bytes())
        ray.get(ray.remote(_check).remote(content))  # fails early with one short error
        while shard := dict(enumerate(islice(photos, _SHARD))):
            for number, outcome in _outcomes(content, shard):
                if number in shard:  # a task that is retried can return a photo twice
                    yield shard.pop(number), outcome
            if shard:
                raise SeeFoodError(f"The Ray cluster {cluster} lost {len(shard):,} photos; run the same command again.")


def _outcomes(content: Any, shard: Mapping[int, Address]) -> Iterator[tuple[int, Outcome]]:
    numbered = iter(list(shard.items()))
    blocks = [_block(block) for block in iter(lambda: list(islice(numbered, _BLOCK)), [])]
    cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    # With a larger minimum, Ray waits for the workers of a machine that is gone.
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=cpus, initial_size=cpus)
    scored = ray.data.from_arrow(blocks).map_batches(
        _Worker, fn_constructor_args=(content,), batch_size=None, batch_format="pyarrow", compute=pool, num_cpus=1
    )
    batch: Any  # a pa.Table, by batch_format
    for batch in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            outcome = json.loads(row["outcome"])
            yield row["number"], outcome if isinstance(outcome, str) else Verdict(**outcome)


def _block(photos: Iterable[tuple[int, Address]]) -> pa.Table:
    numbers, named = zip(*photos, strict=True)
    paths = [os.fsencode(photo if isinstance(photo, str) else photo.absolute()) for photo in named]
    return pa.table({"number": pa.array(numbers, pa.int64()), "photo": pa.array(paths, pa.binary())})


@contextmanager
def _connected(cluster: str) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine for `local`, and disconnect or stop it at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are raised here instead
    own = {"num_cpus": loky.cpu_count(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        _reach(cluster)
        ray.init(cluster, log_to_driver=False, logging_level=logging.CRITICAL, **(own if cluster == "local" else {}))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unusable(cluster, error) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    except ray.exceptions.RayError as error:
        raise _unusable(cluster, error) from error
    finally:
        ray.shutdown()


def _unusable(cluster: str, error: Exception) -> SeeFoodError:
    reason = str(error).strip().rpartition("\n")[2].rstrip(".")
    return SeeFoodError(f"The Ray cluster {cluster} can't be used: {reason}.")


def _reach(cluster: str) -> None:
    """Raise ConnectionError if nothing listens at the address; Ray itself would retry for minutes."""
    host, _, port = cluster.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"nothing listens at this address ({error})") from error
