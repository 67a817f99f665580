"""Pages, from the templates in this folder."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """The text of a page. A name that is misspelt in its template is an error and no gap in the page."""
    environment = Environment(
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)
