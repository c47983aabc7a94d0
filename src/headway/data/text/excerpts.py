"""The beginning of a text, for lists and pages that show many texts."""

from __future__ import annotations


def excerpt(text: str, characters: int) -> str:
    """The first characters of a text, with an ellipsis if there are more."""
    return text[:characters] + ("…" if len(text) > characters else "")
