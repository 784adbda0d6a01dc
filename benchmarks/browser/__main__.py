"""Measure the model in the browser: python -m benchmarks.browser."""

import json
from pathlib import Path

import click

from benchmarks import report
from benchmarks.browser import tables
from benchmarks.browser.comparison import measure
from benchmarks.machine import ROOT, record

RESULTS = ROOT / "benchmarks" / "results.json"
TABLES = {"parity": tables.parity, "costs": tables.costs, "shrunk": tables.shrunk}


@click.command()
@click.option(
    "--photos", default=ROOT.parent / "shared" / "data", type=click.Path(path_type=Path), help="Folder of test photos."
)
@click.option("--tables", "only_tables", is_flag=True, help="Write the tables of results.json, and measure nothing.")
def main(photos: Path, only_tables: bool) -> None:
    """Measure, and write results.json and the tables in docs/page.md."""
    if not only_tables:
        record(RESULTS, "browser", lambda: measure(ROOT / "models", photos))
    results = json.loads(RESULTS.read_text())
    for name, make in TABLES.items():
        report.write(results, ROOT / "docs" / "page.md", make, (f"<!-- {name} -->", f"<!-- end of {name} -->"))


if __name__ == "__main__":
    main()
