"""Compare an older checkout with this one, with the same model file.

    git worktree add ../before COMMIT
    python -m benchmarks.serving.before ../before

The older service, this service and this service behind nginx take turns; the others are paused meanwhile. Each receives
a closed load of 8 clients, and an open load of 80% of the older service's rate.
"""

import json
import shlex
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from benchmarks.markdown import FEW, table
from benchmarks.photos import SIZES, photo
from benchmarks.processes import ROOT
from benchmarks.serving.contenders import FRONT, Contender
from benchmarks.serving.load import Body, load
from benchmarks.serving.running import Running, running
from service.registry import find_model

_BEFORE, _NOW = "before", "now"


def _contender(name: str, checkout: Path) -> Contender:
    line = f"cd {shlex.quote(str(checkout))} && exec {sys.executable} -m service.cli serve --port {{port}}"
    return Contender(name, ("sh", "-c", line), "/v1/predict", settings={"PYTHONPATH": str(checkout)})


def _measure(before: Path, models: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Return the loads by photo size, contender and turn."""
    settings = {"SEEFOOD_MODEL": str(find_model(models.resolve(), "", "int8"))}
    contenders = (_contender(_BEFORE, before.resolve()), _contender(_NOW, ROOT), FRONT)
    found: dict[str, Any] = {size: {each.name: [] for each in contenders} for size in FEW}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bodies = {size: Body.of(photo(SIZES[size]), Path(scratch)) for size in FEW}
        runs = [stack.enter_context(running(each, bodies[FEW[0]], settings=settings)) for each in contenders]
        for _ in range(rounds):
            for size, body in bodies.items():
                closed = {run.contender.name: _load(run, runs, body, seconds) for run in runs}
                rate = 0.8 * closed[_BEFORE]["per_second"]
                for run in runs:
                    turn = {"closed": closed[run.contender.name], "open": _load(run, runs, body, seconds, rate)}
                    found[size][run.contender.name].append({**turn, "ready": run.ready_seconds})
    return found


def _load(run: Running, runs: list[Running], body: Body, seconds: float, rate: float | None = None) -> dict[str, Any]:
    with ExitStack() as stack:
        for other in runs:
            if other is not run:
                stack.enter_context(other.paused())
        found = load(run.url, body, clients=64 if rate else 8, seconds=seconds, rate=rate)
        return {**found, "mb": round(run.usage()[1])}


def _rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for size, turns_of in found.items():
        older = [turn["closed"]["per_second"] for turn in turns_of[_BEFORE]]
        for name, turns in turns_of.items():
            rates = [turn["closed"]["per_second"] for turn in turns]
            ratios = [rate / old for rate, old in zip(rates, older, strict=True)]
            latencies = [
                statistics.median(turn[kind].get("ms_200", {}).get(point, 0) for turn in turns)
                for kind, point in (("closed", "p99"), ("open", "p50"), ("open", "p99"))
            ]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            memory = max(turn["closed"]["mb"] for turn in turns)
            cells = [f"{size}, {name}", f"{statistics.median(rates):.1f}", ratio, *(f"{ms:.0f}" for ms in latencies)]
            rows.append([*cells, f"{turns[0]['ready']:.2f}", str(memory)])
    return rows


@click.command()
@click.argument("before", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--models", default=Path("models"), type=click.Path(path_type=Path), help="Registry with the model.")
@click.option("--seconds", default=6.0, help="Duration of each load, after its warm-up.")
@click.option("--rounds", default=3, help="Number of turns.")
def main(before: Path, models: Path, seconds: float, rounds: int) -> None:
    """Measure, and print the results as JSON and as a table."""
    found = _measure(before, models, seconds, rounds)
    print(json.dumps(found))
    head = ["", "photos a second", "times before", "p99, ms", "p50 at 80%", "p99 at 80%", "s to ready", "MB"]
    print("\n".join(table(head, _rows(found))))


if __name__ == "__main__":
    main()
