"""Measure SeeFood and its peers: `make bench`, or python -m benchmarks.

Each part is written to results.json when it is complete, so that --only can measure one part again. Tables and plots
are generated from this file.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks import plots, report, summary
from benchmarks.machine import record
from benchmarks.scoring import comparison as scoring
from benchmarks.serving import comparison as serving
from benchmarks.serving import curves, strain
from benchmarks.serving.contenders import PEERS, checkout
from benchmarks.training import comparison as training

FOLDER = Path(__file__).parent
PARTS = ("serving", "strain", "curves", "training", "bulk")
_CHECKOUT = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Part to measure; repeatable.")
@click.option("--tables", is_flag=True, help="Write the tables and plots of results.json, and measure nothing.")
@click.option("--models", default=Path("models"), type=click.Path(path_type=Path), help="Registry to serve from.")
@click.option("--seconds", default=4.0, help="Duration of each load, after its warm-up.")
@click.option("--rounds", default=3, help="Number of turns of each contender.")
@click.option("--requests", default=50_000, help="Number of requests while memory is measured.")
@click.option("--before", type=_CHECKOUT, help="Older checkout to compare with in place of the peers; requires --out.")
@click.option("--out", default=FOLDER, type=click.Path(path_type=Path), help="Folder of results.json and the plots.")
def main(
    parts: tuple[str, ...],
    tables: bool,
    models: Path,
    seconds: float,
    rounds: int,
    requests: int,
    before: Path | None,
    out: Path,
) -> None:
    """Measure, and write results.json, the plots and, in this folder, the tables in the documentation."""
    if before and out == FOLDER:
        raise click.UsageError("--before requires --out, so that the results of the peers are not replaced.")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "serving": lambda: serving.measure(models, peers, seconds=seconds, rounds=rounds),
        "strain": lambda: strain.measure(models, seconds=seconds, requests=requests),
        "curves": lambda: curves.measure(models, seconds=seconds),
        "training": training.measure,
        "bulk": scoring.measure,
    }
    peers = [checkout(before.resolve())] if before else PEERS
    models = models.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops all started processes too
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.json"
    for part in () if tables else parts or PARTS:
        record(path, part, measures[part])
    results = json.loads(path.read_text())
    plots.draw(results, out)
    if out == FOLDER:
        report.write(results, FOLDER / "README.md", report.tables)
        report.write(results, FOLDER.parent / "docs" / "speed.md", report.short)
        summary.write(FOLDER.parent)
    else:
        print(report.tables(results))


if __name__ == "__main__":
    main()
