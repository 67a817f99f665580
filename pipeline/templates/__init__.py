"""Renders pages from templates: those of the stages are in this folder, that of a document is next to it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def render(template: str, **values: Any) -> str:
    """Returns the text of a page. `template` is a path relative to this folder or to the root of the repository.

    Raises jinja2.UndefinedError if a name in the template has no value.
    """
    environment = Environment(
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        loader=FileSystemLoader([FOLDER, ROOT], encoding="utf-8"),
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)


def document(page: str, by: str = "make documents", **values: Any) -> str:
    """Returns the text of a document from the template next to it. Its first line names the template and command."""
    template = f"{page}.jinja"
    return f"<!-- rendered from {template} by `{by}`; edit that file -->\n{render(template, **values)}"
