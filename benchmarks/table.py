"""What benchmarks.service measured, as the table and the plot of benchmarks/README.md."""

from pathlib import Path
from typing import Any

START, END = "<!-- service -->", "<!-- end -->"


def table(found: dict[str, Any]) -> str:
    """Return the Markdown table of one run."""
    photos: dict[str, Any] = found["photos"]
    rows = [
        ("photo, bytes", lambda row: f"{row['bytes']:,}"),
        ("limit: decode and inference in-process, photos a second", lambda row: f"{row['limit']:.1f}"),
        ("the service with 8 clients, photos a second", lambda row: f"{row['saturated']:.1f}"),
        ("its share of the limit, turn by turn", lambda row: ", ".join(f"{share:.2f}" for share in row["share"])),
        ("one client alone: p50 / p99, ms", lambda row: _latency(row["alone"], "200")),
        ("at 80% of that, at a fixed rate: p50 / p99, ms", lambda row: _latency(row["at 80%"], "200")),
        ("at four times that: photos a second", lambda row: f"{row['at 400%']['per_second']:.1f}"),
        ("its answers, by status", lambda row: _statuses(row["at 400%"]["statuses"])),
        ("a refusal with 429: p50 / p99, ms", lambda row: _latency(row["at 400%"], "429")),
        ("the slowest health answer meanwhile, ms", lambda row: f"{row['at 400%']['health_max_ms']:.0f}"),
        ("resident memory of each worker after it, MB", lambda row: ", ".join(map(str, row["workers_mb"]))),
    ]
    lines = [f"| | {' | '.join(photos)} |", "|---|" + "---|" * len(photos)]
    lines += [f"| {name} | {' | '.join(value(row) for row in photos.values())} |" for name, value in rows]
    memory = found["memory_mb"]
    machine = found["machine"]
    return "\n".join(
        [
            f"{machine['cpus']} CPUs of {machine['cpu']}, Python {machine['python']}, {found['date']}.",
            "",
            *lines,
            "",
            f"Ready after {', '.join(f'{seconds:.2f}' for seconds in found['ready_seconds'])} seconds.",
            f"Over {found['requests']:,} requests the workers' memory went from {_megabytes(memory[0])} after ten "
            f"seconds to {_megabytes(memory[-1])}, and was {min(map(min, memory))} to {max(map(max, memory))} MB.",
        ]
    )


def write(found: dict[str, Any], folder: Path) -> None:
    """Put the table into the folder's README.md, between its two markers, and draw the plot beside it."""
    readme = folder / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(START)
    readme.write_text(f"{head}{START}\n{table(found)}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    _plot(found, folder / "service.png")


def _latency(seen: dict[str, Any], status: str) -> str:
    return f"{seen[f'ms_{status}']['p50']:.0f} / {seen[f'ms_{status}']['p99']:.0f}"


def _statuses(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))


def _megabytes(workers: list[int]) -> str:
    return f"{' and '.join(map(str, workers))} MB"


def _plot(found: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (speed, latency, memory) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    names = list(found["photos"])
    rows = list(found["photos"].values())
    for offset, (key, label) in enumerate((("limit", "in-process"), ("saturated", "service"))):
        bars = speed.bar([i + offset * 0.4 for i in range(len(names))], [row[key] for row in rows], 0.38, label=label)
        speed.bar_label(bars, fmt="%.0f")
    speed.set_xticks([i + 0.2 for i in range(len(names))], names)
    speed.set_title("photos a second")
    speed.legend()
    loads = ("alone", "at 80%", "at 400%")
    for name, row in found["photos"].items():
        for point, style in (("p50", "o--"), ("p99", "o-")):
            latency.plot(loads, [row[load]["ms_200"][point] for load in loads], style, label=f"{name}, {point}")
    latency.set_yscale("log")
    latency.set_title("latency of answers, ms")
    latency.legend(fontsize="small")
    for number, seen in enumerate(zip(*found["memory_mb"], strict=True)):
        memory.plot([10 * (turn + 1) for turn in range(len(seen))], seen, label=f"worker {number + 1}")
    memory.set_ylim(0)
    memory.set_title("resident MB, over seconds of small photos")
    memory.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
