"""The report of a retraining: one HTML file with the photos that change, and the same for programs."""

import json
from collections.abc import Iterable
from pathlib import Path

from service.model import Model
from service.photo import utf8
from training.evaluation.comparison import SlicedComparison
from training.report import thumbnails
from training.report.rendering import render

RETRAINING = "retraining.json"
PAGE = Path("report", "retraining.html")
CHANGES = 24  # shown of each group in each direction


def write_comparison(
    version: Path, in_use: Model, candidate: Model, comparison: SlicedComparison, accepted: Iterable[str]
) -> None:
    """Write PAGE and then RETRAINING into the folder of the candidate.

    Args:
        version: folder of the candidate.
        in_use: the version in use.
        candidate: the candidate.
        comparison: of the two.
        accepted: SHA-256 of the accepted photos that were trained on or held out, hex.
    """
    names = in_use.metadata.version, candidate.metadata.version
    rows = [
        (each.part or "all", str(each.photos), str(each.gained), str(each.lost), f"{p:.3f}")
        for each, p in comparison.p_values
    ]
    groups = []
    for gained, direction in ((False, "Only the version in use is right"), (True, "Only the candidate is right")):
        for group in dict.fromkeys(each.group for each in comparison.changes):
            found = [each for each in comparison.changes if (each.gained, each.group) == (gained, group)]
            if found:
                found.sort(key=lambda each: -abs(each.after - each.before))
                shown = thumbnails.of_changes(found[:CHANGES])
                groups.append((f"{direction}{f': {group}' if group else ''}", len(found), shown))
    page = render(
        "comparison.html.jinja",
        in_use=names[0],
        candidate=names[1],
        positive=candidate.metadata.positive_label,
        comparison=comparison,
        rows=rows,
        groups=groups,
    )
    (version / PAGE).write_text(page, encoding="utf-8")
    record = {
        "in_use": names[0],
        "candidate": names[1],
        "refused": bool(comparison.worse),
        "sentence": str(comparison),
        "comparisons": [vars(each) | {"p": p} for each, p in comparison.p_values],
        "changes": [vars(each) | {"path": utf8(each.path.resolve())} for each in comparison.changes],
        "accepted": sorted(accepted),
    }
    part = version / f".{RETRAINING}"
    part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    part.replace(version / RETRAINING)
