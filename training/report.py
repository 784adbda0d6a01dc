"""The report of a version: one HTML file that opens anywhere, and its pictures as PNG files beside it."""

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from service.model import Model
from service.photo import printable, read_photo
from training import plots
from training.story import Story


def write_report(folder: Path, model: Model, story: Story) -> None:
    """Write index.html and the PNG files into a new folder; the model is the int8 file."""
    folder.mkdir()
    fitted, metadata = story.fitted, model.metadata
    labels = metadata.positive_label, metadata.negative_label
    figures = {
        "samples": plots.samples(fitted.training, model.size),
        "curves": plots.learning_curves(fitted.curves),
        "validation": plots.decisions(story.validation, labels, metadata.threshold),
        "kernels": plots.first_kernels(fitted.classifier),
        "maps": plots.feature_maps(fitted.classifier, read_photo(fitted.training.paths[0].read_bytes(), model.size)),
    }
    for name, evaluation in story.tests.items():
        if min(evaluation.photos) > 0:
            figures[name] = plots.decisions(evaluation, labels, metadata.threshold)
        if evaluation.mistakes:
            figures[f"{name} mistakes"] = plots.worst_mistakes(model, evaluation.mistakes)
    pictures = {name: _png(figure) for name, figure in figures.items()}
    for name, picture in pictures.items():
        (folder / f"{name.replace('/', '-').replace(' ', '-')}.png").write_bytes(picture)
    templates = Environment(loader=PackageLoader("training", ""), undefined=StrictUndefined, autoescape=True)
    page = templates.get_template("report.html.jinja").render(
        metadata=metadata,
        findings=fitted.findings,
        recipe=fitted.recipe,
        checks=story.checks,
        tests=story.tests,
        pictures={name: base64.b64encode(picture).decode() for name, picture in pictures.items()},
        printable=printable,
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
