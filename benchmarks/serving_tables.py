"""Tables that compare SeeFood with its peers and with the limit of the CPUs."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.markdown import FEW, LATENCIES, latency, number, table, times
from benchmarks.photos import SIZES
from benchmarks.serving.contenders import LIMIT, SEEFOOD


@dataclass(frozen=True)
class Standing:
    """A contender's results by photo size.

    Attributes:
        rates: mean number of photos per second.
        ratios: SeeFood's rate divided by its rate, for each turn; 1 for SeeFood itself.
        shares: its rate divided by the limit, from SeeFood's ratios to both.
    """

    name: str
    rates: dict[str, float]
    ratios: dict[str, list[float]]
    shares: dict[str, float]


def ratios(turns: Iterable[dict[str, Any]], size: str) -> list[float]:
    """Return SeeFood's rate divided by the contender's rate, for each turn."""
    return [turn[size]["seefood"] / turn[size]["per_second"] for turn in turns]


def standings(serving: dict[str, Any]) -> list[Standing]:
    """Return the limit and all measured contenders, sorted by their rate with large photos."""
    turns_of = {LIMIT: serving[LIMIT]} | {name: one["turns"] for name, one in serving["contenders"].items()}
    limit = {size: statistics.mean(ratios(serving[LIMIT], size)) for size in SIZES}
    found = []
    for name, turns in turns_of.items():
        if not turns:
            continue
        rates = {size: statistics.mean(turn[size]["per_second"] for turn in turns) for size in SIZES}
        by_size = {size: [1.0] if name == SEEFOOD.name else ratios(turns, size) for size in SIZES}
        shares = {size: limit[size] / statistics.mean(by_size[size]) for size in SIZES}
        found.append(Standing(name, rates, by_size, shares))
    return sorted(found, key=lambda one: -one.shares["12 MP"])


def serving(found: dict[str, Any]) -> list[str]:
    """Return the rates of all contenders."""
    rows = [
        [
            one.name,
            *(f"{number(one.rates[size])} ({one.shares[size]:.2f})" for size in SIZES),
            *("" if one.name == SEEFOOD.name else times(one.ratios[size]) for size in SIZES),
        ]
        for one in standings(found)
    ]
    absent = [name for name, contender in found["contenders"].items() if not contender["turns"]]
    rows += [[name, "not measured", *[""] * (2 * len(SIZES) - 1)] for name in absent]
    head = ["8 clients", *SIZES, *(f"ratio, {size}" for size in SIZES)]
    about = "**Rates**: photos a second, and the share of the limit; the ratio is SeeFood's rate divided by that rate."
    return [about, "", *table(head, rows)]


def costs(found: dict[str, Any]) -> list[str]:
    """Return the latency, CPU time and memory of each contender."""
    rows = []
    for name in [one.name for one in standings(found) if one.name != LIMIT]:
        turns, versions = found["contenders"][name]["turns"], found["contenders"][name]["versions"]
        failed = found["contenders"][name]["errors"]
        rows.append(
            [
                name,
                *(latency([turn[size].get("ms_200") for turn in turns]) for size in FEW),
                latency([turn["open"].get("ms_200") for turn in turns]),
                *(f"{statistics.mean(turn[size]['cpu_ms'] for turn in turns):.0f}" for size in FEW),
                f"{max(turn[size]['memory_mb'] for turn in turns for size in SIZES):,}",
                f"{statistics.median(turn['ready_seconds'] for turn in turns):.1f}",
                _not_200(turns) + (f"; {len(failed)} turn failed" if failed else ""),
                ", ".join(f"{package} {version}" for package, version in versions.items()),
            ]
        )
    head = [f"{LATENCIES}, ms", *(f"8 clients, {size}" for size in FEW), "0.3 MP at 80% of its rate"]
    head += [*(f"CPU ms a photo, {size}" for size in FEW), "MB", "s to the first answer", "not 200", "versions"]
    return ["**Latency, CPU time and memory.**", "", *table(head, rows)]


def limits(found: dict[str, Any]) -> list[str]:
    """Return the limit with and without decoding, and SeeFood's share of it for each turn."""
    turns = found[LIMIT]
    rows = []
    for size in SIZES:
        means = [statistics.mean(turn[size][what] for turn in turns) for what in ("inference", "per_second", "seefood")]
        rows.append([size, *map(number, means), ", ".join(f"{share:.2f}" for share in ratios(turns, size))])
    head = ["photos a second", "inference alone", "decode and inference", "SeeFood", "share of the limit in each turn"]
    return ["**The limit of these CPUs**, in-process, one process for each CPU.", "", *table(head, rows)]


def _not_200(turns: list[dict[str, Any]]) -> str:
    loads = [turn[size] for turn in turns for size in (*SIZES, "open")]
    wrong = sum(count for seen in loads for status, count in seen.get("statuses", {}).items() if status != "200")
    return str(wrong + sum(seen.get("dropped", 0) + seen.get("failed", 0) for seen in loads))
