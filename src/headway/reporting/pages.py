"""What a page is, and how templates become one. The same content always gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.reporting.figures import PALETTE, to_svg
from headway.reporting.formatting import clip, interval, points, prose, sentence, share, shown, signed, visible, when

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Filters for numbers and texts in every template.
FILTERS: dict[str, Callable[..., Any]] = {
    "count": "{:,}".format,
    "shown": shown,
    "signed": signed,
    "interval": interval,
    "points": points,
    "share": share,
    "visible": visible,
    "prose": prose,
    "clip": clip,
    "sentence": sentence,
    "when": when,
}
#: The folder of frame.html, which every template extends, and of macros.html.
SHARED = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """A page with the figures that it shows.

    Attributes:
        html: the whole page. It loads nothing from outside itself.
        figures: by name, so that a caller can save them as image files as well.
    """

    html: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


def render(
    template: Path,
    figures: Mapping[str, tuple[Figure, str]] | None = None,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **content: Any,
) -> Page:
    """Fill a template.

    Args:
        template: extends frame.html and fills its blocks: title, body, style, and policy for scripts that may run.
        figures: name → the figure and a description of it for screen readers.
            The template gets them as SVG elements, by name, as ``figures``.
        filters: the template's own, besides those of :data:`FILTERS`.
        content: the template's other variables. They are escaped unless marked as HTML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader([template.parent, SHARED]),
    )
    environment.filters |= {**FILTERS, **(filters or {})}
    figures = figures or {}
    drawn = {name: Markup(to_svg(figure, name, description)) for name, (figure, description) in figures.items()}
    html = environment.get_template(template.name).render(figures=drawn, palette=PALETTE, **content)
    # Once for every template: HTML forbids control characters, wherever foreign text was inserted.
    return Page(visible(html), {name: figure for name, (figure, _) in figures.items()})
