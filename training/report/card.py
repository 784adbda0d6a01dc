"""The model card: what a version was made of, what it measured, and where it fails."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.photo import printable
from training.evaluation.evaluate import comparison_table, slice_tables, verdict_tables
from training.records import Story


def card(story: Story) -> str:
    """Return the card in Markdown with front matter."""
    templates = Environment(  # noqa: S701 - Markdown, read as text
        loader=PackageLoader("training.report", "templates"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return templates.get_template("card.md.jinja").render(
        metadata=story.fitted.metadata,
        recipe=story.fitted.recipe,
        checks=story.checks,
        tests=story.tests,
        fits=story.fits,
        seeds=story.seeds,
        made_up=story.made_up,
        before=story.before,
        version_before=story.version_before,
        comparison_table=comparison_table,
        slice_tables=slice_tables,
        verdict_tables=verdict_tables,
        printable=printable,
    )
