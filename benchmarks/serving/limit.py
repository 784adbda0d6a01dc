"""The limit of the CPUs without HTTP: one process for each CPU decodes and classifies one photo after another."""

import multiprocessing
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from service.model import open_model
from service.photo import read_photo


def limit(models: Path, photo: bytes, *, processes: int, seconds: float, decode: bool = True) -> float:
    """Return photos per second of all processes, for decoding and inference or for inference alone."""
    context = multiprocessing.get_context("spawn")
    rates: Queue[float] = context.Queue()
    arguments = (models, photo, seconds, decode, context.Barrier(processes), rates)
    workers = [context.Process(target=_work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    total = sum(rates.get(timeout=seconds + 60) for _ in workers)
    for worker in workers:
        worker.join()
    return total


def _work(models: Path, photo: bytes, seconds: float, decode: bool, barrier: Barrier, rates: "Queue[float]") -> None:
    model = open_model(models, device="cpu")
    pixels = read_photo(photo, model.size)[None]
    model.warm_up()
    barrier.wait()
    started = time.monotonic()
    done = 0
    while time.monotonic() < started + seconds:
        model.run(read_photo(photo, model.size)[None] if decode else pixels)
        done += 1
    rates.put(done / (time.monotonic() - started))
