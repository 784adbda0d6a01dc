"""An older checkout against this one with the same model file, in turns, alone and behind the front door.

    git worktree add ../before COMMIT
    python -m benchmarks.before ../before

Each turn asks one after the other, the rest being held still: by 8 clients, and at 80% of what the older one did then.
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

from benchmarks.cells import FEW, table
from benchmarks.contenders import FRONT, Contender
from benchmarks.load import Body, load
from benchmarks.photos import SIZES, photo
from benchmarks.processes import ROOT, Running, running
from service.registry import find_model

CLIENTS, OPEN_CLIENTS, SHARE = 8, 64, 0.8
BEFORE, NOW = "before", "now"


def serve(name: str, checkout: Path) -> Contender:
    """Return the service of a checkout, whatever checkout is installed."""
    line = f"cd {shlex.quote(str(checkout))} && exec {sys.executable} -m service.cli serve --port {{port}}"
    return Contender(name, ("sh", "-c", line), "/v1/predict", settings={"PYTHONPATH": str(checkout)})


def measure(before: Path, models: Path, *, seconds: float, rounds: int) -> dict[str, Any]:
    """Return what was seen of each, by photo size and turn."""
    settings = {"SEEFOOD_MODEL": str(find_model(models.resolve(), "", "int8"))}
    seen: dict[str, Any] = {size: {name: [] for name in (BEFORE, NOW, FRONT.name)} for size in FEW}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        bodies = {size: Body.of(photo(SIZES[size]), Path(scratch)) for size in FEW}
        contenders = (serve(BEFORE, before.resolve()), serve(NOW, ROOT), FRONT)
        up = [stack.enter_context(running(each, bodies[FEW[0]], settings=settings)) for each in contenders]
        for _ in range(rounds):
            for size, body in bodies.items():
                closed = {run.contender.name: _alone(run, up, body, seconds) for run in up}
                rate = SHARE * closed[BEFORE]["per_second"]
                for run in up:
                    name = run.contender.name
                    opened = _alone(run, up, body, seconds, rate)
                    seen[size][name].append({"closed": closed[name], "open": opened, "ready": run.ready_seconds})
    return seen


def _alone(run: Running, up: list[Running], body: Body, seconds: float, rate: float | None = None) -> dict[str, Any]:
    with ExitStack() as stack:
        for other in up:
            if other is not run:
                stack.enter_context(other.paused())
        before = run.usage()[0]
        found = load(run.url, body, clients=OPEN_CLIENTS if rate else CLIENTS, seconds=seconds, rate=rate)
        answered = max(1, sum(found["statuses"].values()))
        return {**found, "cpu_ms": round((run.usage()[0] - before) / answered * 1000, 1), "mb": round(run.usage()[1])}


def rows(seen: dict[str, Any]) -> list[str]:
    """Return the table of medians over turns."""
    cells = []
    for size, names in seen.items():
        for name, turns in names.items():
            ratios = [
                turn["closed"]["per_second"] / old["closed"]["per_second"]
                for turn, old in zip(turns, names[BEFORE], strict=True)
            ]

            def median(part: str, status: str, point: str, turns: list[Any] = turns) -> str:
                return f"{statistics.median(turn[part].get(status, {}).get(point, 0) for turn in turns):.0f}"

            cells.append([
                f"{size}, {name}",
                f"{statistics.median(turn['closed']['per_second'] for turn in turns):.1f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                median("closed", "ms_200", "p99"),
                median("open", "ms_200", "p50"),
                median("open", "ms_200", "p99"),
                f"{turns[0]['ready']:.2f}",
                f"{max(turn['closed']['mb'] for turn in turns)}",
            ])  # fmt: skip
    head = ["", "photos a second", "times before", "p99, ms", "p50 at 80%", "p99 at 80%", "s to ready", "MB"]
    return table(head, cells)


@click.command()
@click.argument("before", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--models", default=Path("models"), type=click.Path(path_type=Path), help="Registry of the model to serve."
)
@click.option("--seconds", default=6.0, help="Each load lasts, after its warm-up.")
@click.option("--rounds", default=3, help="Turns.")
def main(before: Path, models: Path, seconds: float, rounds: int) -> None:
    """Measure, and print the table and everything as JSON."""
    seen = measure(before, models, seconds=seconds, rounds=rounds)
    print(json.dumps(seen))
    print("\n".join(rows(seen)))


if __name__ == "__main__":
    main()
