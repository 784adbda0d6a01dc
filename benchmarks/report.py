"""What was measured, as the tables of benchmarks/README.md and the short one of README.md."""

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.contenders import LIMIT, SEEFOOD
from benchmarks.photos import SIZES

START, END = "<!-- measured -->", "<!-- end of what was measured -->"
FEW = ("0.3 MP", "12 MP")
MENTIONED = 0.05  # milliseconds
POINTS = ("p50", "p95", "p99", "p99.9")
LATENCIES = " / ".join(POINTS)


def write(results: dict[str, Any], readme: Path, tables: Callable[[dict[str, Any]], str]) -> None:
    """Put tables between the two markers of a Markdown file."""
    head, rest = readme.read_text(encoding="utf-8").split(START)
    readme.write_text(f"{head}{START}\n{tables(results)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def short(results: dict[str, Any]) -> str:
    """Return the table of README.md: answers a second of everybody, and how many times as many SeeFood gives."""
    serving = results["serving"]
    rows = [
        [name, *(_number(rates[size]) for size in FEW), *(_times(ratios, size) for size in FEW)]
        for name, rates, ratios in _standings(serving)
    ]
    head = ["photos a second, 8 clients", *FEW, *(f"SeeFood gives, {size}" for size in FEW)]
    return "\n".join([_where(serving), "", *_table(head, rows)])


def tables(results: dict[str, Any]) -> str:
    """Return all tables."""
    parts = {
        "serving": (_serving, _costs, _limits),
        "hotspots": (_hotspots,),
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
            lines += ["", f"<sub>{section}: {_where(results[section])}</sub>"]
    return "\n".join(lines[1:])


def ratios(turns: Iterable[dict[str, Any]], size: str) -> list[float]:
    """Return, turn by turn, how many answers SeeFood gave for each one of a contender."""
    return [turn[size]["seefood"] / turn[size]["per_second"] for turn in turns if turn[size]["per_second"]]


def _standings(serving: dict[str, Any]) -> list[tuple[str, dict[str, float], dict[str, list[float]]]]:
    """Return every contender's name, mean rates and ratios by photo size, the fastest with large photos first."""
    rows = []
    for name, contender in serving["contenders"].items():
        if contender["turns"]:
            rates = {size: statistics.mean(turn[size]["per_second"] for turn in contender["turns"]) for size in SIZES}
            own = name == SEEFOOD.name
            rows.append((name, rates, {} if own else {size: ratios(contender["turns"], size) for size in SIZES}))
    return sorted(rows, key=lambda row: -row[1]["12 MP"])


def _serving(serving: dict[str, Any]) -> list[str]:
    limit = {size: ratios(serving[LIMIT], size) for size in SIZES}
    rows = [
        [
            LIMIT,
            *(_number(statistics.mean(turn[size]["per_second"] for turn in serving[LIMIT])) for size in SIZES),
            *(_times(limit, size) for size in SIZES),
            *("1" for _ in FEW),
        ]
    ]
    for name, rates, times in _standings(serving):
        share = [statistics.mean(limit[size]) / (statistics.mean(times[size]) if times else 1) for size in FEW]
        rows.append(
            [
                name,
                *(_number(rates[size]) for size in SIZES),
                *(_times(times, size) for size in SIZES),
                *(f"{one:.2f}" for one in share),
            ]
        )
    for name, contender in serving["contenders"].items():
        if not contender["turns"]:
            rows.append([name, "not measured", *[""] * (2 * len(SIZES) - 1 + len(FEW))])
    head = ["photos a second, 8 clients", *SIZES, *(f"SeeFood gives, {size}" for size in SIZES)]
    return ["**Against whom.**", "", *_table([*head, *(f"of the limit, {size}" for size in FEW)], rows)]


def _costs(serving: dict[str, Any]) -> list[str]:
    rows = []
    for name, _, _ in _standings(serving):
        contender = serving["contenders"][name]
        turns = contender["turns"]
        opened = [turn["open"] for turn in turns if "ms_200" in turn["open"]]
        rows.append(
            [
                name,
                *(_latency([turn[size].get("ms_200") for turn in turns]) for size in FEW),
                _latency([one["ms_200"] for one in opened]),
                *(f"{statistics.mean(turn[size]['cpu_ms'] for turn in turns):.0f}" for size in FEW),
                f"{max(turn[size]['memory_mb'] for turn in turns for size in SIZES):,}",
                f"{statistics.median(turn['ready_seconds'] for turn in turns):.1f}",
                _wrong(turns),
                ", ".join(f"{package} {number}" for package, number in contender["versions"].items()),
            ]
        )
    head = [f"{LATENCIES}, ms", *(f"8 clients, {size}" for size in FEW), "0.3 MP at 80% of its rate"]
    head += [*(f"CPU ms a photo, {size}" for size in FEW), "MB", "s to the first answer", "not 200", "versions"]
    return ["**What it takes.**", "", *_table(head, rows)]


def _limits(serving: dict[str, Any]) -> list[str]:
    turns = serving[LIMIT]
    rows = [
        [
            size,
            _number(statistics.mean(turn[size]["inference"] for turn in turns)),
            _number(statistics.mean(turn[size]["per_second"] for turn in turns)),
            _number(statistics.mean(turn[size]["seefood"] for turn in turns)),
            ", ".join(f"{turn[size]['seefood'] / turn[size]['per_second']:.2f}" for turn in turns),
        ]
        for size in SIZES
    ]
    head = ["photos a second", "inference alone", "decode and inference", "SeeFood", "its share, turn by turn"]
    return ["**The limit of these CPUs**, in-process, one process each.", "", *_table(head, rows)]


def _hotspots(found: dict[str, Any]) -> list[str]:
    measured = {size: found[size] for size in FEW if "error" not in found[size]}
    kinds = list(dict.fromkeys(kind for one in measured.values() for kind, ms in one["ms"].items() if ms >= MENTIONED))
    rows = [[kind, *(f"{one['ms'].get(kind, 0):.2f}" for one in measured.values())] for kind in kinds]
    rows.append(["all of the service", *(f"{sum(one['ms'].values()):.2f}" for one in measured.values())])
    rows.append(["and the load, wrk", *(f"{one['load_ms']:.2f}" for one in measured.values())])
    lines = [
        "**Where a request's time goes**: CPU milliseconds a photo, 8 clients.",
        "",
        *_table(["", *measured], rows),
    ]
    return lines + [f"{size}: not measured, {found[size]['error']}" for size in FEW if "error" in found[size]]


def _strain(found: dict[str, Any]) -> list[str]:
    loads = found["loads"]
    most = [f"{row['saturated']:.1f}, {row['again']:.1f}" for row in loads.values()]
    over = [row["at 400%"] for row in loads.values()]
    rows = [
        [f"one client: {LATENCIES}, ms", *(_latency([row["alone"]["ms_200"]]) for row in loads.values())],
        ["at 80% of its rate", *(_latency([row["at 80%"]["ms_200"]]) for row in loads.values())],
        ["8 clients, before and after, photos a second", *most],
        ["at four times that, photos a second", *(_number(seen["per_second"]) for seen in over)],
        ["its answers, by status", *map(_statuses, over)],
        ["a refusal with 429, ms", *(_latency([seen.get("ms_429")]) for seen in over)],
        ["the slowest health answer meanwhile, ms", *(f"{seen['health_max_ms']:.0f}" for seen in over)],
    ]
    memory = found["memory_mb"]
    return [
        "**How SeeFood bears it.**",
        "",
        *_table(["", *loads], rows),
        "",
        f"Over {found['requests']:,} requests all its processes together held {memory[0]} MB after ten seconds, "
        f"{memory[-1]} MB at the end, and {min(memory)} to {max(memory)} MB in between.",
    ]


def _curves(found: dict[str, Any]) -> list[str]:
    clients = [
        [count, f"{seen['per_second']:.1f}", _latency([seen.get("ms_200")]), _statuses(seen)]
        for count, seen in found["clients"].items()
    ]
    sizes = [[name, f"{seen['bytes']:,}", f"{seen['per_second']:.1f}"] for name, seen in found["sizes"].items()]
    workers = [
        [count, *(f"{seen[size]:.1f}" for size in FEW), str(seen["memory_mb"])]
        for count, seen in found["workers"].items()
    ]
    batches = [[name, *map(_number, rates.values())] for name, rates in found["batches"].items()]
    return [
        "**Over clients**, 0.3 MP.",
        "",
        *_table(["clients", "photos a second", f"{LATENCIES}, ms", "answers"], clients),
        "",
        "**Over the size of a photo**, 8 clients.",
        "",
        *_table(["photo", "bytes", "photos a second"], sizes),
        "",
        "**Over processes** (`SEEFOOD_WORKERS`), 8 clients.",
        "",
        *_table(["processes", *FEW, "MB"], workers),
        "",
        "**Over the batch**, inference alone on one thread, photos a second.",
        "",
        *_table(["", *found["batches"]["int8"]], batches),
    ]


def _training(found: dict[str, Any]) -> list[str]:
    asked = found["settings"]
    rows = [[one["what"], *_trained(one["rounds"])] for one in found["trainers"].values()]
    head = ["", "photos a second", f"s to {asked['target_accuracy']}", "accuracy by epoch", "s, whole command", "MB"]
    return [
        f"**Training**: ResNet-18, {asked['photos']} photos, {asked['epochs']} epochs in batches of {asked['batch']}, "
        f"validated on {asked['validation_photos']} others at {asked['size']} px.",
        "",
        *_table(head, rows),
    ]


def _trained(rounds: list[dict[str, Any]]) -> list[str]:
    done = [one for one in rounds if "error" not in one]
    if not done:
        return ["not measured", "", rounds[0]["error"], "", ""]
    reached = [f"{one['seconds_to_target']:.0f}" if one["seconds_to_target"] else "never" for one in done]
    return [
        _number(statistics.mean(one["photos_per_second"] for one in done)),
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
    lines = ["**Scoring a folder**, whole command: photos a second, SeeFood's times that, MB.", ""]
    return lines + _table(["", *seen], rows)


def _scored(one: dict[str, Any]) -> str:
    if not one["photos_per_second"]:
        return "not measured: " + next(seen["error"] for seen in one["rounds"] if "error" in seen)
    memory = max(seen["peak_memory_mb"] for seen in one["rounds"])
    return f"{one['photos_per_second']:.1f} ({one['seefood_is_times_as_fast']:.2f}x), {memory:,.0f} MB"


def _where(section: dict[str, Any]) -> str:
    machine = section["machine"]
    return f"{machine['cpus']} CPUs of {machine['cpu']}, {machine['date']}, commit {machine['commit']}"


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _number(value: float) -> str:
    return f"{value:.1f}"


def _times(ratios_by_size: dict[str, list[float]], size: str) -> str:
    if not ratios_by_size:
        return ""
    values = ratios_by_size[size]
    return f"{statistics.mean(values):.2f}x ({min(values):.2f}-{max(values):.2f})"


def _latency(seen: list[dict[str, float] | None]) -> str:
    """Return the medians over turns of each percentile."""
    there = [one for one in seen if one]
    if not there:
        return "-"
    return " / ".join(f"{statistics.median(one[point] for one in there):.0f}" for point in POINTS)


def _statuses(seen: dict[str, Any]) -> str:
    counts = [f"{count:,} x {status}" for status, count in seen["statuses"].items()]
    lost = [f"{seen[what]:,} {what}" for what in ("dropped", "failed") if seen[what]]
    return ", ".join(counts + lost)


def _wrong(turns: list[dict[str, Any]]) -> str:
    loads = [turn[size] for turn in turns for size in (*SIZES, "open")]
    wrong = sum(count for seen in loads for status, count in seen.get("statuses", {}).items() if status != "200")
    return str(wrong + sum(seen.get("dropped", 0) + seen.get("failed", 0) for seen in loads))
