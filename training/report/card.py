"""The model card of a version, in Markdown."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.photo import printable
from training.evaluation.tables import comparison_table, positive_tables, slice_tables
from training.records import RunResult


def render_card(result: RunResult) -> str:
    """Return the card in Markdown with front matter."""
    templates = Environment(  # noqa: S701 - Markdown needs no HTML escapes
        loader=PackageLoader("training.report", "templates"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return templates.get_template("card.md.jinja").render(
        result=result,
        metadata=result.metadata,
        comparison_table=comparison_table,
        slice_tables=slice_tables,
        positive_tables=positive_tables,
        printable=printable,
    )
