"""Formats of numbers and texts on every page and in every table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

from headway.evaluation.headlines import HEADLINES

ABSENT = "—"
MINUS = "−"
#: Entries of a model's scores that are numbers but no metrics.
COUNTS = {"rows", "positive_class"}
ENDINGS = ("_low", "_high")


class Measured(NamedTuple):
    """A metric with its interval. A bound is None where there is no interval."""

    name: str
    value: float | None
    low: float | None
    high: float | None


def measured(scores: Mapping[str, Any]) -> list[Measured]:
    """The metrics of one model, each with its interval: every number at the top level of its scores."""
    return [
        Measured(readable(name), value, scores.get(f"{name}_low"), scores.get(f"{name}_high"))
        for name, value in scores.items()
        if name not in COUNTS and not name.endswith(ENDINGS) and (value is None or isinstance(value, int | float))
    ]


def readable(name: str) -> str:
    """A metric's name for people."""
    return HEADLINES.get(name, name.replace("_", " "))


def shown(value: float | None) -> str:
    """A number to four decimals (four significant digits from 10 on), with a true minus sign; "—" for None."""
    if value is None:
        return ABSENT
    words = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"
    return words.replace("-", MINUS)


def signed(value: float, decimals: int = 3) -> str:
    """A number with its sign; 0 has none."""
    words = f"{value:+.{decimals}f}"
    return words.replace("-", MINUS) if float(words) else words[1:]


def interval(low: float | None, high: float | None) -> str:
    """Both bounds, as "0.9072 to 0.9288"; "—" where one is None."""
    return ABSENT if low is None or high is None else f"{shown(low)} to {shown(high)}"


def points(difference: float | None, low: float | None = None, high: float | None = None) -> str:
    """A difference of shares in percentage points, as "+2.40 points (1.51 to 3.34)"; "—" for None.

    Without both bounds there is no interval.
    """
    if difference is None:
        return ABSENT
    words = f"{signed(100 * difference, 2)} points"
    return words if low is None or high is None else f"{words} ({_hundredths(low)} to {_hundredths(high)})"


def _hundredths(value: float) -> str:
    return f"{100 * value:.2f}".replace("-0.00", "0.00").replace("-", MINUS)


# Texts

_LINE_BREAKS = re.compile(r"\s*<br\s*/?>\s*", re.IGNORECASE)
#: Control characters become their pictures (␀, ␛ …), and code points that are no characters become �.
_VISIBLE = (
    {code: 0x2400 + code for code in range(32) if code not in (0x09, 0x0A, 0x0D)}
    | {0x7F: 0x2421}
    | dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), 0xFFFD)
)


def visible(text: str) -> str:
    """A text in which every character that XML forbids is replaced by a visible sign."""
    return text.translate(_VISIBLE)


def prose(text: str) -> str:
    """A text as a person reads it: visible, and with line breaks in place of the HTML tag for them. Other markup stays."""
    return visible(_LINE_BREAKS.sub("\n", text))


def sentence(words: str) -> str:
    """Words with a capital at the beginning."""
    return words[:1].upper() + words[1:]


def when(moment: str) -> str:
    """An ISO 8601 time to the minute, with its time zone: "2026-11-29 18:05 UTC"."""
    found = datetime.fromisoformat(moment)
    return f"{found:%Y-%m-%d %H:%M} {found.tzname() or ''}".rstrip()


def clip(text: str, length: int = 80) -> str:
    """A label with its spaces, made visible and cut after ``length`` characters."""
    return visible(text if len(text) <= length else text[:length] + "…")


def shorten(text: str, ems: float = 18) -> str:
    """A text on one line, at most ``ems`` times as wide as its font is high, with an ellipsis where it is cut."""
    line = " ".join(visible(text).split())
    if width_in_ems(line) <= ems:
        return line
    fits = sum(width <= ems - 1 for width in accumulate(map(_ems, line)))
    return line[:fits].rstrip() + "…"


def width_in_ems(text: str) -> float:
    """About how wide a text is in any sans-serif font, in multiples of the font's size."""
    return sum(map(_ems, text))


def _ems(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    return 1.0 if unicodedata.east_asian_width(character) in "WF" else 0.58


def share(value: float) -> str:
    """A share as a percentage. Only 0 is shown as 0%, and only 1 as 100%."""
    if 0 < value < 0.001:
        return "<0.1%"
    if 0.999 < value < 1:
        return ">99.9%"
    return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"
