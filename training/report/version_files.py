"""The files of a version: both ONNX files, metrics.json, card.md, photos.csv, findings.json and report/."""

import csv
import json
from dataclasses import replace
from pathlib import Path

from service.model import Model
from service.photo import printable
from service.registry import FILES
from training.data.checks import issues_as_json
from training.data.label_list import changes_as_json
from training.evaluation.tables import comparison_table, positive_tables, slice_tables
from training.export.onnx_export import write_metadata
from training.records import PreparedData, RunResult
from training.registry.photo_list import PHOTOS
from training.registry.store import METRICS
from training.report.html_report import write_report
from training.report.rendering import render

FINDINGS = "findings.json"


def write_version(folder: Path, result: RunResult) -> None:
    """Move the ONNX files into the folder of a version, with their metrics, and write all other files."""
    evaluations = {"validation": result.validation, **result.tests}
    if result.synthetic:
        evaluations["made up"] = result.synthetic
    metrics = {name: evaluation.as_dict() for name, evaluation in evaluations.items()}
    if result.over_fits:
        metrics["fits"] = {
            name: {"mean": mean, "deviation": deviation} for name, (mean, deviation) in result.over_fits.items()
        }
    for name in FILES.values():
        write_metadata(result.folder / name, replace(result.metadata, metrics=metrics))
        (result.folder / name).replace(folder / name)
    _write_json(folder / METRICS, metrics)
    (folder / "card.md").write_text(render_card(result), encoding="utf-8")
    _write_photos(folder / PHOTOS, result.data)
    findings = {
        **result.data.findings.as_dict(),
        "suspects": issues_as_json(result.data.label_issues or ()),
        "corrected": changes_as_json(result.data.label_changes),
    }
    _write_json(folder / FINDINGS, findings)
    write_report(folder / "report", Model(folder / FILES["int8"]), result)


def render_card(result: RunResult) -> str:
    """Return the model card in Markdown with front matter."""
    return render(
        "card.md.jinja",
        result=result,
        metadata=result.metadata,
        comparison_table=comparison_table,
        slice_tables=slice_tables,
        positive_tables=positive_tables,
        printable=printable,
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_photos(path: Path, data: PreparedData) -> None:
    """Write the content digest, label, split and source of each photo; there are no names, because photos move."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sha256", "label", "split", "source"])
        from_inbox = {*data.accepted.paths, *data.corrections.paths}
        parts = {"fit": data.training, "validate": data.validation, "held out": data.corrections}
        for split, photos in parts.items():
            labelled = zip(photos.paths, photos.labels(), strict=True)
            table.writerows(
                sorted(
                    (data.findings.digests[photo], label, split, "inbox" if photo in from_inbox else "folder")
                    for photo, label in labelled
                )
            )
