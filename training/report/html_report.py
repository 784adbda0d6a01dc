"""The report of a version: one HTML file that opens anywhere, and its charts as PNG files beside it."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from service.model import Model
from service.photo import printable, read_photo
from training.data.folders import Photos
from training.evaluation.evaluate import comparison_table, slice_tables, verdict_tables
from training.export.layer_table import HEADING, layers
from training.records import Story
from training.report.html_report import plots, thumbnails

MISTAKES = 12  # shown of each test folder
SUSPECTS = 24
CHANGED = 6  # of each reason


def write_report(folder: Path, model: Model, story: Story) -> None:
    """Write index.html and the PNG files into a new folder; the model is the int8 file."""
    folder.mkdir()
    fitted, metadata = story.fitted, model.metadata
    labels = metadata.positive_label, metadata.negative_label
    found = layers(model.path)
    first = read_photo(fitted.training.paths[0].read_bytes(), model.size)
    figures = {
        "samples": {
            "training": plots.samples(fitted.training, model.size),
            **{
                name: plots.samples(Photos(evaluation.paths, evaluation.targets, *labels), model.size)
                for name, evaluation in story.tests.items()
            },
        },
        "curves": plots.learning_curves(fitted.curves),
        "validation": plots.decisions(story.validation, labels, metadata.threshold),
        "inside": {
            "kernels": plots.first_kernels(fitted.classifier),
            "maps": plots.feature_maps(fitted.classifier, first),
        },
        **{
            f"test {name}": plots.decisions(evaluation, labels, metadata.threshold)
            for name, evaluation in story.tests.items()
        },
    }
    pictures = {part: {name: _png(figure) for name, figure in those.items()} for part, those in figures.items()}
    for part, those in pictures.items():
        for name, picture in those.items():
            (folder / f"{part}-{name}.png".replace("/", "-").replace(" ", "-")).write_bytes(picture)
    templates = Environment(
        loader=PackageLoader("training.report", "templates"), undefined=StrictUndefined, autoescape=True
    )
    page = templates.get_template("report.html.jinja").render(
        metadata=metadata,
        findings=fitted.findings,
        groups=thumbnails.of_groups(fitted.findings),
        changed=fitted.changed,
        corrected=thumbnails.of_changed(fitted.changed, CHANGED),
        suspects=fitted.suspects,
        suspected=thumbnails.of_suspects(fitted.suspects[:SUSPECTS]),
        recipe=fitted.recipe,
        checks=story.checks,
        fits=story.fits,
        seeds=[(name, f"{mean:.3f}", f"{deviation:.3f}") for name, (mean, deviation) in story.seeds.items()],
        tests=story.tests,
        made_up=story.made_up,
        before=story.before,
        version_before=story.version_before,
        comparison_table=comparison_table,
        slice_tables=slice_tables,
        verdict_tables=verdict_tables,
        mistakes={
            name: thumbnails.of_mistakes(model, evaluation.mistakes[:MISTAKES])
            for name, evaluation in story.tests.items()
        },
        heading=HEADING,
        layers=[layer.cells() for layer in found],
        parameters=sum(layer.parameters for layer in found),
        pictures={
            part: {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in those.items()}
            for part, those in pictures.items()
        },
        printable=printable,
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
