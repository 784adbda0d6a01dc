"""The model card: what a version was made of, what it measured, and where it fails."""

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.metadata import Metadata
from training.evaluate import Evaluation


def card(
    metadata: Metadata,
    recipe: Mapping[str, object],
    validation: Mapping[str, object],
    tests: Mapping[str, Evaluation],
) -> str:
    """Return the card in Markdown with front matter.

    Args:
        metadata: of the exported files.
        recipe: what was done, each step with its value.
        validation: what was measured on the validation photos.
        tests: what the int8 file makes of each test folder, by the folder's name.
    """
    templates = Environment(  # noqa: S701 - Markdown, read as text
        loader=PackageLoader("training", ""), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return templates.get_template("card.md.jinja").render(
        metadata=metadata, recipe=recipe, validation=validation, tests=tests
    )
