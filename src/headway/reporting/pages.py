"""How pages look and leave: one frame for all, and HTML that opens anywhere, offline; the same content gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: The template that every page's own extends: head, style sheet, and what the page may load, which is nothing.
FRAME = Path(__file__).with_name("frame.html")


def render(template: Path, filters: Mapping[str, Callable[..., Any]], **content: Any) -> str:
    """A page as HTML that refers to nothing outside itself.

    Args:
        template: fills the frame's blocks: title, body, style for what the page alone has, and policy for what else may run.
        filters: by the names that the template has for them, besides ``count`` for whole numbers.
        content: what the template names; it is escaped unless it is marked as HTML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader([template.parent, FRAME.parent]),
    )
    environment.filters |= {"count": "{:,}".format, **filters}
    return environment.get_template(template.name).render(content)
