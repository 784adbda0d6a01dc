"""What the same cores do without HTTP: one process a core, each decoding and classifying one photo after the other."""

import json
import multiprocessing
import time
from pathlib import Path

import click

from service.model import open_model
from service.photo import read_photo


def _work(models: Path, photo: bytes, seconds: float, answers: "multiprocessing.Queue[int]") -> None:
    model = open_model(models, device="cpu")
    model.warm_up()
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end:
        model.run(read_photo(photo, model.size)[None])
        done += 1
    answers.put(done)


def limit(models: Path, photo: bytes, *, processes: int, seconds: float) -> float:
    """Return photos a second, decode and inference, in-process."""
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_work, args=(models, photo, seconds, answers)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    done = sum(answers.get() for _ in workers)
    for worker in workers:
        worker.join()
    return done / seconds


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
