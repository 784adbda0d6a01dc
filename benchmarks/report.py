"""Tables of the benchmark results, for benchmarks/README.md and docs/speed.md."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.markdown import FEW, LATENCIES, latency, number, statuses, table, times, where
from benchmarks.serving.contenders import SEEFOOD
from benchmarks.serving_tables import costs, limits, serving, standings

MARKS = START, END = "<!-- measured -->", "<!-- end of what was measured -->"


def write(
    results: dict[str, Any], page: Path, tables: Callable[[dict[str, Any]], str], marks: tuple[str, str] = MARKS
) -> None:
    """Replace the text between the two markers of a Markdown page by tables."""
    start, end = marks
    head, rest = page.read_text(encoding="utf-8").split(start)
    page.write_text(f"{head}{start}\n{tables(results)}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def short(results: dict[str, Any]) -> str:
    """Return the table of docs/speed.md: photos a second of each contender, and SeeFood's ratio to it."""
    rows = [
        [
            one.name,
            *(number(one.rates[size]) for size in FEW),
            *("" if one.name == SEEFOOD.name else times(one.ratios[size]) for size in FEW),
        ]
        for one in standings(results["serving"])
    ]
    head = ["photos a second, 8 clients", *FEW, *(f"ratio, {size}" for size in FEW)]
    return "\n".join([f"{where(results['serving'])}:", "", *table(head, rows)])


def tables(results: dict[str, Any]) -> str:
    """Return the tables of benchmarks/README.md."""
    parts: dict[str, tuple[Callable[[dict[str, Any]], list[str]], ...]] = {
        "serving": (serving, costs, limits),
        "strain": (_strain,),
        "curves": (_curves,),
        "training": (_training,),
        "bulk": (_bulk,),
    }
    lines: list[str] = []
    for section, makers in parts.items():
        for make in makers if section in results else ():
            lines += ["", *make(results[section])]
        if section in results:
            lines += ["", f"<sub>{section}: {where(results[section])}</sub>"]
    return "\n".join(lines[1:])


def _strain(found: dict[str, Any]) -> list[str]:
    loads = found["loads"]
    most = [f"{row['saturated']:.1f}, {row['again']:.1f}" for row in loads.values()]
    rows = [
        [f"one client: latency {LATENCIES}, ms", *(latency([row["alone"]["ms_200"]]) for row in loads.values())],
        ["80% of the maximum rate: the same", *(latency([row["at 80%"]["ms_200"]]) for row in loads.values())],
        ["8 clients, before and after the overload, photos a second", *most],
    ]
    for load, what in (("at 400%", "four times that rate"), ("without patience", "256 clients that retry at once")):
        over = [row[load] for row in loads.values()]
        rows += [
            [f"{what}: photos a second", *(number(seen["per_second"]) for seen in over)],
            ["CPUs used by the load generator", *(f"{seen['generator_cpu']:.2f}" for seen in over)],
            ["answers by status", *map(statuses, over)],
            [f"latency of answers with 429, {LATENCIES}, ms", *(latency([seen.get("ms_429")]) for seen in over)],
            ["slowest answer of a health route, ms", *(f"{seen['health_max_ms']:.0f}" for seen in over)],
        ]
    memory = found["memory_mb"]
    return [
        "**SeeFood under overload.**",
        "",
        *table(["", *loads], rows),
        "",
        f"Memory of all processes together over {found['requests']:,} requests: {memory[0]} MB after ten seconds, "
        f"{memory[-1]} MB at the end, {min(memory)} to {max(memory)} MB in between.",
    ]


def _curves(found: dict[str, Any]) -> list[str]:
    clients = [
        [count, f"{seen['per_second']:.1f}", latency([seen.get("ms_200")]), statuses(seen)]
        for count, seen in found["clients"].items()
    ]
    sizes = [[name, f"{seen['bytes']:,}", f"{seen['per_second']:.1f}"] for name, seen in found["sizes"].items()]
    batches = [[name, *map(number, rates.values())] for name, rates in found["batches"].items()]
    return [
        "**By number of clients**, 0.3 MP.",
        "",
        *table(["clients", "photos a second", f"{LATENCIES}, ms", "answers"], clients),
        "",
        "**By photo size**, 8 clients.",
        "",
        *table(["photo", "bytes", "photos a second"], sizes),
        "",
        "**By batch size**, inference alone on one thread, photos a second.",
        "",
        *table(["", *found["batches"]["int8"]], batches),
    ]


def _training(found: dict[str, Any]) -> list[str]:
    asked = found["settings"]
    done = [one for trainer in found["trainers"].values() for one in trainer["rounds"] if "error" not in one]
    shared = min((one["best_accuracy"] for one in done), default=0.0)
    rows = [[one["what"], *_trained(one["rounds"], shared)] for one in found["trainers"].values()]
    head = [
        "",
        "photos a second",
        f"s to an accuracy of {shared:.3f}",
        "accuracy by epoch",
        "s, whole command",
        "MB",
    ]
    return [
        f"**Training**: ResNet-18, {asked['photos']} photos, {asked['epochs']} epochs in batches of {asked['batch']}, "
        f"{asked['validation_photos']} validation photos at {asked['size']} px.",
        "",
        *table(head, rows),
    ]


def _trained(rounds: list[dict[str, Any]], shared: float) -> list[str]:
    done = [one for one in rounds if "error" not in one]
    if not done:
        return ["not measured", "", rounds[0]["error"], "", ""]
    reached = [
        f"{next(epoch['seconds'] for epoch in one['epochs'] if epoch['accuracy'] >= shared):.0f}" for one in done
    ]
    return [
        number(statistics.mean(one["photos_per_second"] for one in done)),
        ", ".join(reached),
        "; ".join(", ".join(f"{epoch['accuracy']:.3f}" for epoch in one["epochs"]) for one in done),
        ", ".join(f"{one['seconds']:.0f}" for one in done),
        f"{max(one['peak_memory_mb'] for one in done):,.0f}",
    ]


def _bulk(found: dict[str, Any]) -> list[str]:
    seen = {
        f"{scored['photos']} {name} photos, {cpus}": scored[cpus]
        for name, scored in found["folders"].items()
        for cpus in ("all CPUs", "one CPU")
        if cpus in scored
    }
    rows = [[what, *(_scored(one[name]) for one in seen.values())] for name, what in found["tools"].items()]
    lines = ["**Scoring a folder**, whole command: photos a second, ratio of SeeFood to it, peak memory.", ""]
    return lines + table(["", *seen], rows)


def _scored(one: dict[str, Any]) -> str:
    if not one["photos_per_second"]:
        return "not measured: " + ", ".join(seen["error"] for seen in one["rounds"] if "error" in seen)
    memory = max(seen["peak_memory_mb"] for seen in one["rounds"])
    return f"{one['photos_per_second']:.1f} ({one['seefood_is_times_as_fast']:.2f}x), {memory:,.0f} MB"
