"""The templates of the model card and of the HTML pages."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_templates = Environment(
    loader=PackageLoader("training.report", "templates"),
    undefined=StrictUndefined,
    autoescape=select_autoescape(["html.jinja"]),  # Markdown needs no HTML escapes
    keep_trailing_newline=True,
)


def render(template: str, **values: object) -> str:
    """Return a template of `templates/` with values; a name without a value raises jinja2.UndefinedError."""
    return _templates.get_template(template).render(**values)
