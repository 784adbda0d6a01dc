"""How fast, against whom, and how far from the limit: `make bench`, or python -m benchmarks.

Each part is written to results.json when it is done, so that one can be measured again alone with --only; tables and
plots are made from that file.
"""

import json
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks import bulk, curves, hotspots, plots, report, serving, strain, summary, training
from benchmarks.machine import here

FOLDER = Path(__file__).parent
PARTS = ("serving", "hotspots", "strain", "curves", "training", "bulk")
AGAIN = "again"  # serving once more, to see how far two runs differ


@click.command()
@click.option("--only", "parts", multiple=True, type=click.Choice((*PARTS, AGAIN)), help="Part to measure; repeatable.")
@click.option("--tables", is_flag=True, help="Measure nothing: write tables and plots of what was measured.")
@click.option("--models", default=Path("models"), type=click.Path(path_type=Path), help="Registry to serve from.")
@click.option("--seconds", default=4.0, help="Each load lasts, after its warm-up.")
@click.option("--rounds", default=3, help="Times that each contender has its turn.")
@click.option("--requests", default=50_000, help="How many to watch the memory over.")
@click.option("--out", default=FOLDER, type=click.Path(path_type=Path), help="Folder of results.json and the plots.")
def main(
    parts: tuple[str, ...], tables: bool, models: Path, seconds: float, rounds: int, requests: int, out: Path
) -> None:
    """Measure, and write results.json, the plots and, in this folder, the tables in the documentation."""
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "serving": lambda: serving.measure(models, seconds=seconds, rounds=rounds),
        "hotspots": lambda: hotspots.measure(models, seconds=seconds),
        "strain": lambda: strain.measure(models, seconds=seconds, requests=requests),
        "curves": lambda: curves.measure(models, seconds=seconds),
        "training": _training,
        "bulk": _bulk,
        AGAIN: lambda: serving.measure(models, seconds=seconds, rounds=rounds),
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    for part in () if tables else parts or PARTS:
        machine, started = here(), time.monotonic()
        found = measures[part]()
        results = json.loads(path.read_text()) if path.exists() else {}
        took = round(time.monotonic() - started)
        results[part] = {"machine": machine, "took_seconds": took, **found}
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{part}: {took} s", flush=True)
    results = json.loads(path.read_text())
    plots.draw(results, out)
    if out == FOLDER:
        report.write(results, FOLDER / "README.md", report.tables)
        report.write(results, FOLDER.parent / "docs" / "speed.md", report.short)
        summary.write(FOLDER.parent)


def _training() -> dict[str, Any]:
    photos, weights = (path if path.exists() else None for path in (training.DATA, training.WEIGHTS))
    with tempfile.TemporaryDirectory() as scratch:
        return training.measure(
            photos, epochs=3, size=224, batch=None, rounds=1, scratch=Path(scratch), weights=weights
        )


def _bulk() -> dict[str, Any]:
    photos = bulk.DATA if bulk.DATA.exists() else None
    with tempfile.TemporaryDirectory() as scratch:
        return bulk.measure(photos, camera=200, given=200, rounds=1, scratch=Path(scratch))


if __name__ == "__main__":
    main()
