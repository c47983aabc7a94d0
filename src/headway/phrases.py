"""Phrases that messages, captions and tables share: counts with their noun, and lists that are cut short."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 row", "2,500 rows". The plural is the noun and an s unless given."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first ``most`` items, and how many more there are: "a, b and 3 more"."""
    return separator.join(items[:most]) + and_more(len(items), most)


def and_more(total: int, shown: int) -> str:
    """What follows the first ``shown`` of ``total`` items: " and 3 more", or nothing if all are shown."""
    return f" and {total - shown:,} more" if total > shown else ""
