"""What the same cores do without HTTP: one process a core, each decoding and classifying one photo after the other."""

import json
import multiprocessing
import threading
import time
from pathlib import Path

import click

from service.model import open_model
from service.photo import read_photo


def _work(
    models: Path,
    photo: bytes,
    seconds: float,
    decode: bool,
    barrier: "threading.Barrier",
    answers: "multiprocessing.Queue[float]",
) -> None:
    model = open_model(models, device="cpu")
    pixels = read_photo(photo, model.size)[None]
    model.warm_up()
    barrier.wait()
    started = time.monotonic()
    done = 0
    while time.monotonic() < started + seconds:
        model.run(read_photo(photo, model.size)[None] if decode else pixels)
        done += 1
    answers.put(done / (time.monotonic() - started))


def limit(models: Path, photo: bytes, *, processes: int, seconds: float, decode: bool = True) -> float:
    """Return photos a second, in-process: decode and inference, or inference alone."""
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[float] = context.Queue()
    barrier = context.Barrier(processes)
    arguments = (models, photo, seconds, decode, barrier, answers)
    workers = [context.Process(target=_work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    rate = sum(answers.get(timeout=seconds + 60) for _ in workers)
    for worker in workers:
        worker.join()
    return rate


@click.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--models", default=Path("models"), type=click.Path(path_type=Path))
@click.option("--processes", default=2)
@click.option("--seconds", default=10.0)
def main(photo: Path, models: Path, processes: int, seconds: float) -> None:
    """Measure the limit and print it."""
    print(json.dumps({"per_second": round(limit(models, photo.read_bytes(), processes=processes, seconds=seconds), 2)}))


if __name__ == "__main__":
    main()
