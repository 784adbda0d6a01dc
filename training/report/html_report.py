"""The HTML report of a version: one file without links to others, and its charts as PNG files beside it."""

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure

from service.model import Model
from service.photo import printable, read_photo
from training.data.photos import Photos
from training.evaluation.tables import comparison_table, positive_tables, slice_tables
from training.export.layer_table import HEADING, read_layers
from training.records import RunResult
from training.report import plots, thumbnails
from training.report.rendering import render

MISTAKES = 12  # shown for each test folder
LABEL_ISSUES = 24  # shown
LABEL_CHANGES = 6  # shown for each correction and reason


def write_report(folder: Path, model: Model, result: RunResult) -> None:
    """Write index.html and the PNG files into a new folder.

    Args:
        folder: is created.
        model: the int8 file of the version.
        result: of the run.
    """
    folder.mkdir()
    charts = {
        part: {name: _png(figure) for name, figure in figures.items()}
        for part, figures in _figures(model, result).items()
    }
    for part, pngs in charts.items():
        for name, png in pngs.items():
            (folder / f"{part}-{name}.png".replace("/", "-").replace(" ", "-")).write_bytes(png)
    layers = read_layers(model.path)
    issues = result.data.label_issues or ()
    page = render(
        "report.html.jinja",
        result=result,
        metadata=model.metadata,
        findings=result.data.findings,
        same_pictures=thumbnails.of_same_pictures(result.data.findings),
        label_changes=result.data.label_changes,
        changed_photos=thumbnails.of_label_changes(result.data.label_changes, LABEL_CHANGES),
        label_issues=issues,
        issue_photos=thumbnails.of_label_issues(issues[:LABEL_ISSUES]),
        over_fits=[(name, f"{mean:.3f}", f"{deviation:.3f}") for name, (mean, deviation) in result.over_fits.items()],
        comparison_table=comparison_table,
        slice_tables=slice_tables,
        positive_tables=positive_tables,
        mistakes={
            name: thumbnails.of_mistakes(model, evaluation.mistakes[:MISTAKES])
            for name, evaluation in result.tests.items()
        },
        heading=HEADING,
        layers=[layer.cells() for layer in layers],
        parameters=sum(layer.parameters for layer in layers),
        charts={
            part: {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in pngs.items()}
            for part, pngs in charts.items()
        },
        printable=printable,
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _figures(model: Model, result: RunResult) -> dict[str, dict[str, Figure]]:
    training, threshold = result.data.training, model.metadata.threshold
    tests = {
        name: Photos(evaluation.paths, evaluation.targets, *result.labels) for name, evaluation in result.tests.items()
    }
    first = read_photo(training.paths[0].read_bytes(), model.size)
    return {
        "samples": {
            "training": plots.samples(training, model.size),
            **{name: plots.samples(photos, model.size) for name, photos in tests.items()},
        },
        "curves": plots.training_curves(result.curves),
        "photos": {"learning-curve": plots.learning_curve_figure(result.learning_curve)}
        if result.learning_curve
        else {},
        "validation": plots.prediction_charts(result.validation, result.labels, threshold),
        "inside": {
            "kernels": plots.first_kernels(result.classifier),
            "maps": plots.feature_maps(result.classifier, first),
        },
        **{
            f"test {name}": plots.prediction_charts(evaluation, result.labels, threshold)
            for name, evaluation in result.tests.items()
        },
    }


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
