"""Plots of the benchmark results."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.photos import SIZES
from benchmarks.serving.contenders import LIMIT, SEEFOOD

_OURS, _THEIRS, _LIMIT = "#c8102e", "#8a8d91", "#d9dce0"


def draw(results: dict[str, Any], folder: Path) -> None:
    """Write serving.png and curves.png, if their parts were measured."""
    if "serving" in results:
        _contenders(results["serving"], folder / "serving.png")
    if "curves" in results and "strain" in results:
        _curves(results["curves"], results["strain"], folder / "curves.png")


def _contenders(serving: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(1, len(SIZES), figsize=(13, 4), layout="constrained", sharey=True)
    for axis, size in zip(axes, SIZES, strict=True):
        turns = {name: one["turns"] for name, one in serving["contenders"].items() if one["turns"]}
        turns[LIMIT] = serving[LIMIT]
        rates = {name: [turn[size]["per_second"] for turn in seen] for name, seen in turns.items()}
        names = sorted(rates, key=lambda name: statistics.mean(turn["12 MP"]["per_second"] for turn in turns[name]))
        means = [statistics.mean(rates[name]) for name in names]
        spread = [[mean - min(rates[name]) for mean, name in zip(means, names, strict=True)]]
        spread += [[max(rates[name]) - mean for mean, name in zip(means, names, strict=True)]]
        colours = [_LIMIT if name == LIMIT else _OURS if name.startswith(SEEFOOD.name) else _THEIRS for name in names]
        labels = [name.split(":")[0].replace(", adaptive batching", "") for name in names]
        bars = axis.barh(labels, means, xerr=spread, color=colours, ecolor="#444444", capsize=2)
        axis.bar_label(bars, fmt="%.1f", padding=8)
        axis.set_xlim(0, 1.3 * max(means))
        axis.set_title(f"{size}: photos a second, 8 clients")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(curves: dict[str, Any], strain: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplot_mosaic("aabbcc;dddeee", figsize=(13, 7), layout="constrained")
    clients, latency, sizes, batches, memory = axes.values()
    counts = [int(count) for count in curves["clients"]]
    seen = list(curves["clients"].values())
    clients.plot(counts, [one["per_second"] for one in seen], "o-", color=_OURS)
    _titled(clients, "photos a second over clients (0.3 MP)", log=True)
    for point, style in (("p50", "o-"), ("p99", "o--")):
        latency.plot(counts, [one["ms_200"][point] for one in seen], style, color=_OURS, label=point)
    _titled(latency, "latency of answers over clients, ms", log=True)
    latency.legend()
    sizes.plot(list(curves["sizes"]), [one["per_second"] for one in curves["sizes"].values()], "o-", color=_OURS)
    _titled(sizes, "photos a second over the photo's size")
    for precision, style in (("int8", "o-"), ("float32", "o--")):
        rates = curves["batches"][precision]
        batches.plot(list(rates), list(rates.values()), style, color=_OURS, label=precision)
    _titled(batches, "inference alone over the batch, photos a second")
    batches.legend()
    minutes = [(turn + 1) / 6 for turn in range(len(strain["memory_mb"]))]
    memory.plot(minutes, strain["memory_mb"], color=_OURS)
    _titled(memory, f"MB of all processes over minutes, {strain['requests']:,} requests")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _titled(axis: Axes, title: str, *, log: bool = False) -> None:
    axis.set_title(title, fontsize="medium")
    axis.set_ylim(0, 1.1 * axis.dataLim.y1)
    if log:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:.0f}")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
