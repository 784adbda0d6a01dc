"""Markdown tables and the format of their figures."""

import statistics
from collections.abc import Iterable
from typing import Any

FEW = ("0.3 MP", "12 MP")
POINTS = ("p50", "p95", "p99", "p99.9")
LATENCIES = " / ".join(POINTS)


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def number(value: float) -> str:
    """Return a rate."""
    return f"{value:.1f}"


def times(ratios: list[float]) -> str:
    """Return the mean of ratios, with their minimum and maximum."""
    return f"{statistics.mean(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else ""


def latency(seen: list[dict[str, float] | None]) -> str:
    """Return the median over turns of each percentile in POINTS."""
    there = [one for one in seen if one]
    return " / ".join(f"{statistics.median(one[point] for one in there):.0f}" for point in POINTS) if there else "-"


def statuses(seen: dict[str, Any]) -> str:
    """Return the number of answers by status, and of requests without an answer."""
    counts = [f"{count:,} x {status}" for status, count in seen["statuses"].items()]
    return ", ".join(counts + [f"{seen[what]:,} {what}" for what in ("dropped", "failed") if seen[what]])


def where(section: dict[str, Any]) -> str:
    """Return the machine, date and commit of a section."""
    machine = section["machine"]
    return f"{machine['cpus']} CPUs of {machine['cpu']}, {machine['date']}, commit {machine['commit']}"
