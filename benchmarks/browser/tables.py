"""Tables of the model in the browser, for docs/page.md."""

from typing import Any

from benchmarks.markdown import table, where

_SETS = {
    "real": "real photos, 256 px",
    "enlarged": "of them, enlarged to 1,024 px",
    "drawn": "drawn, of all formats and orientations",
}


def parity(results: dict[str, Any]) -> str:
    """Return the differences between browser and service, by model file and set of photos."""
    rows = [
        [name, f"{seen['photos']} {what}", *_differences(seen)]
        for name, one in _measured(results).items()
        for seen, what in ((one[each], what) for each, what in _SETS.items())
    ]
    head = ["model", "photos", "mean", "99th percentile", "maximum", "other verdict", "of them uncertain"]
    return "\n".join([*table(head, rows), "", _source(results)])


def costs(results: dict[str, Any]) -> str:
    """Return what a first visit costs, by model file."""
    rows = [
        [
            name,
            f"{one['visit']['bytes'] / 1e6:.1f} MB",
            f"{one['visit']['seconds']} s",
            f"{one['4G']['seconds']} s",
            f"{one['4G']['first_paint_ms']} ms",
            f"{one['real']['milliseconds']:.0f} ms",
        ]
        for name, one in _measured(results).items()
    ]
    head = [
        "model",
        "received until the first verdict",
        "seconds, local",
        "seconds, 4G",
        "first paint, 4G",
        "inference",
    ]
    return "\n".join([*table(head, rows), "", _source(results)])


def shrunk(results: dict[str, Any]) -> str:
    """Return how much the service's answers change when the page re-encodes photos before it sends them."""
    found = results["browser"]["shrunk"]
    before, after = found["12 MP"]
    rows = [
        [f"{found['real']['photos']} real photos, 256 px", *_differences(found["real"])],
        [f"{found['enlarged']['photos']} of them, enlarged to 2,048 px", *_differences(found["enlarged"])],
    ]
    head = ["photos", "mean", "99th percentile", "maximum", "other verdict", "of them uncertain"]
    line = f"A drawn photo of 12 megapixels becomes {after / 1e3:,.0f} KB, from {before / 1e6:.1f} MB."
    return "\n".join([*table(head, rows), "", line, "", _source(results)])


def _measured(results: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in results["browser"]["models"].items() if "error" not in one}


def _differences(seen: dict[str, Any]) -> list[str]:
    other = len(seen["flips"]) + seen["uncertain_flips"]
    return [
        *(f"{seen[each]:.4f}" for each in ("mean", "p99", "max")),
        f"{other} ({other / seen['photos']:.1%})",
        str(seen["uncertain_flips"]),
    ]


def _source(results: dict[str, Any]) -> str:
    return f"<sub>`.venv/bin/python -m benchmarks.browser`: {where(results['browser'])}</sub>"
