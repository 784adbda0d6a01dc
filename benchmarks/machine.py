"""The machine, date and duration of a measurement."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def record(path: Path, part: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Measure one part and write it, with the machine and its seconds, into a JSON file; other parts are kept."""
    machine, started = here(), time.monotonic()
    found = measure()
    took = round(time.monotonic() - started)
    results = json.loads(path.read_text()) if path.exists() else {}
    results[part] = {"machine": machine, "took_seconds": took, **found}
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{part}: {took} s", flush=True)


def here() -> dict[str, Any]:
    """Return the CPU, the number of CPUs, the commit and the date."""
    return {
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _commit() -> str:
    """Return the short commit, with a plus if files differ from it; empty outside a checkout."""
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    ran = subprocess.run(described, capture_output=True, text=True, check=False)
    return ran.stdout.strip()


def _cpu() -> str:
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in about.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()
