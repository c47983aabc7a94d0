"""The page that lists likely label errors with their texts."""

from __future__ import annotations

from pathlib import Path

from headway.label_errors import LabelErrors
from headway.phrases import counted
from headway.reporting import pages

TEMPLATE = Path(__file__).with_name("page.html")
MAX_ROWS, MAX_CHARACTERS = 200, 1_000


def render(found: LabelErrors) -> str:
    """The page as HTML, with the surest rows and the beginnings of their texts."""
    shown = found.errors[:MAX_ROWS]
    filters = {"counted": counted}
    return pages.render(TEMPLATE, filters=filters, found=found, errors=shown, most_characters=MAX_CHARACTERS).html
