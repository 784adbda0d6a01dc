"""Photos to verdicts on the machines of a Ray cluster, each by the code that scores them on this one."""

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

from scoring.score import Answer, AnyAddress, score
from scoring.sources import Address, address
from service.errors import SeeFoodError
from service.model import Model, Verdict

_BLOCK = 32  # photos that a worker scores at a time, and scores again where it is killed
_SHARD = 100_000  # photos that the cluster is given, and this process holds, at a time
_URL_THREADS = 8  # of a worker with one CPU, for it waits longer for an object than it scores it
_VERDICT = pa.struct(
    {
        "label": pa.string(),
        "positive": pa.bool_(),
        "probability": pa.float64(),
        "uncertain": pa.bool_(),
        "unfamiliar": pa.bool_(),
    }
)


class _Worker:
    """One process with the model, on one CPU of the cluster."""

    def __init__(self, model: Any) -> None:
        self._model = _open(ray.get(model))

    def __call__(self, block: pa.Table) -> pa.Table:
        photos = [address(os.fsdecode(photo)) for photo in block["photo"].to_pylist()]
        threads = _URL_THREADS if any(isinstance(photo, str) for photo in photos) else 1
        answers = [answer for _, answer in score(self._model, photos, threads)]
        return pa.table(
            {
                "number": block["number"],
                "verdict": pa.array([None if isinstance(each, str) else asdict(each) for each in answers], _VERDICT),
                "error": pa.array([each if isinstance(each, str) else None for each in answers], pa.string()),
            }
        )


def _open(content: bytes) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(content)
        return Model(file)


def _check(content: bytes) -> None:
    _open(content)


def score_on(
    cluster: str, model: Model, photos: Iterator[AnyAddress]
) -> Generator[tuple[AnyAddress, Answer], None, None]:
    """Yield each photo once with its verdict, or with the sentence that says why it can't be read.

    Every CPU of a cluster, given as `auto` (the one that runs here), `local` (one for this run) or host:port, opens
    the model, which is sent there; files must have the same paths there as here. Photos come in no order. What a
    worker had not finished when it was killed is scored by another.

    Raises:
        SeeFoodError: there is no such cluster, or it can't score.
    """
    with _connected(cluster):
        content = ray.put(model.path.read_bytes())
        ray.get(ray.remote(_check).remote(content))  # what fails here is one sentence, and pages of them below
        while shard := dict(enumerate(islice(photos, _SHARD))):
            for number, answer in _answers(content, shard):
                if number in shard:  # what is scored twice all the same is told once
                    yield shard.pop(number), answer
            if shard:
                raise SeeFoodError(f"The Ray cluster {cluster} left out {len(shard):,} photos; run the command again.")


def _answers(content: Any, shard: Mapping[int, Address]) -> Iterator[tuple[int, Answer]]:
    numbered = iter(list(shard.items()))
    blocks = [_block(block) for block in iter(lambda: list(islice(numbered, _BLOCK)), [])]
    cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    # One worker is the least, so that those of a machine that is gone are not waited for.
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=cpus, initial_size=cpus)
    scored = ray.data.from_arrow(blocks).map_batches(
        _Worker, fn_constructor_args=(content,), batch_size=None, batch_format="pyarrow", compute=pool, num_cpus=1
    )
    batch: Any  # by its format, a pa.Table
    for batch in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            yield row["number"], Verdict(**row["verdict"]) if row["error"] is None else row["error"]


def _block(photos: Iterable[tuple[int, Address]]) -> pa.Table:
    numbers, named = zip(*photos, strict=True)
    paths = [os.fsencode(photo if isinstance(photo, str) else photo.absolute()) for photo in named]
    return pa.table({"number": pa.array(numbers, pa.int64()), "photo": pa.array(paths, pa.binary())})


@contextmanager
def _connected(cluster: str) -> Iterator[None]:
    """Join a cluster quietly, or for `local` make one of this machine's CPUs; it leaves it, or ends it, in the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody about who scores what
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what it logs below is said here by an error, or no matter
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
    """Ask whether anybody listens at an address, for Ray would itself try for minutes; raises ConnectionError."""
    host, _, port = cluster.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"nobody listens there ({error})") from error
