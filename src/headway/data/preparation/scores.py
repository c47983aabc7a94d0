"""Labels that are a score, such as a price or a mean rating, instead of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


def _style(decimal: str, thousands: str) -> re.Pattern[str]:
    """A pattern of numbers with this decimal mark, optional thousands separators, and an optional currency or percent sign."""
    grouped = rf"[1-9]\d{{0,2}}(?P<separator>[{thousands}\s'’])\d{{3}}(?:(?P=separator)\d{{3}})*"
    number = rf"[+-]?(?:(?:\d+|{grouped})(?:[{decimal}]\d*)?|[{decimal}]\d+)(?:e[+-]?\d+)?"
    return re.compile(rf"[$€£¥]?\s?(?P<number>{number})\s?[%$€£¥]?", re.IGNORECASE)


#: 1,234.5 and 1.234,5. What is a number in both, such as 1,234, is read as in the first unless more rows fit the second.
STYLES = (_style(".", ","), _style(",", "."))
#: A number as pandas reads it.
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
NUMERIC = 0.95  # share of the rows whose label is a number
#: Different numbers above which labels are a score. Eleven half stars from 0 to 5 may be classes.
MOST_FRACTIONS, MOST_WHOLE = 12, 100
FEW_ROWS = 5  # rows below which a whole number is too rare to be a class


@dataclass(frozen=True)
class Score:
    """Labels that are numbers: how many there are, their range, and points that cut their rows into parts of similar size.

    Attributes:
        is_text: whether some are not numbers to pandas, because of thousands separators or signs.
    """

    distinct: int
    low: float
    high: float
    cuts: tuple[float, ...]
    is_text: bool = False

    def describe(self, column: str) -> str:
        """What is wrong with the column of labels, and what to do, in one line."""
        edges = ", ".join(f"{cut:.6g}" for cut in self.cuts)
        first = "turn the column into numbers, then " if self.is_text else ""
        names = '"low", "middle", "high"' if len(self.cuts) > 1 else '"low", "high"'
        return (
            f"the label column {column!r} looks like a score: {self.distinct:,} different numbers from {self.low:g} to "
            f"{self.high:g}, where classes are expected; {first}make classes in your data, in pandas for example with "
            f'table["class"] = pd.cut(table["{column}"], [-np.inf, {edges}, np.inf], labels=[{names}]), or choose another label '
            "column (data.label_map names single labels and cannot cut a range); if the numbers are codes of classes, write a "
            "letter before each"
        )


def score_in(rows: Mapping[str, int]) -> Score | None:
    """The score that labels are, from the number of rows of each label; None if they are classes.

    They are a score if nearly all rows have a number, and there are more than ``MOST_FRACTIONS`` numbers, some with a fraction
    or a thousands separator; or more than ``MOST_WHOLE`` whole numbers, most of them in few rows. Whole numbers that repeat may
    be ids of classes, a space between digits may be one between two ids, and codes of classes may have points, as 1.100.100 has:
    points between thousands count only if most of the numbers are in few rows.
    """
    readings = [{label: number for label in rows if (number := _number(label, style))} for style in STYLES]
    first, second = sorted(readings, key=lambda reading: sum(rows[label] for label in reading), reverse=True)
    found = second | first
    numbers: dict[float, int] = {}
    for label, number in found.items():
        numbers[number.value] = numbers.get(number.value, 0) + rows[label]
    if sum(numbers.values()) < NUMERIC * sum(rows.values()) or len(numbers) <= MOST_FRACTIONS:
        return None
    values = np.array(sorted(numbers))
    counts = np.array([numbers[value] for value in values])
    rare = (counts < FEW_ROWS).mean() > 0.5
    separators = {number.separator for number in found.values()}
    is_grouped = bool(separators & set(",'’")) or ("." in separators and rare)
    is_quantity = is_grouped or any(number.value % 1 for number in found.values())
    if not is_quantity and (len(values) <= MOST_WHOLE or not rare):
        return None
    below = np.searchsorted(counts.cumsum(), counts.sum() * np.array([1 / 3, 2 / 3]))
    cuts = sorted({float(value) for value in values[below] if value < values[-1]})
    middle = float(values[len(values) // 2 - 1])
    is_text = not all(PLAIN.fullmatch(label.strip()) for label in found)
    return Score(len(values), float(values[0]), float(values[-1]), tuple(cuts or [middle]), is_text)


class _Number(NamedTuple):
    """A label that is a number, and its thousands separator; " " for any white space or none."""

    value: float
    separator: str


def _number(label: str, style: re.Pattern[str]) -> _Number | None:
    found = style.fullmatch(label.strip())
    if not found:
        return None
    separator = found["separator"] or " "
    value = float(found["number"].replace(separator, "").replace(",", "."))
    return _Number(value, " " if separator.isspace() else separator) if np.isfinite(value) else None
