"""Columns of unknown data that hold the times of the rows, by their values; numbers must have a usual name too."""

from __future__ import annotations

from collections.abc import Container

import pyarrow as pa

from headway.data.column_names import words_of
from headway.data.column_values import ColumnValues
from headway.data.preparation.times import NO_TIME, read_times
from headway.data.sampling import Sample
from headway.errors import HeadwayError

READABLE, FILLED = 0.95, 0.9  # shares of the values that are times, and of the rows that have a value, at least
DIFFERENT = 3  # times, at least: one for each split
#: Words of names of columns whose numbers are times: other numbers may be ids.
_NAMES = "date time datetime timestamp created updated published posted sent received day epoch utc datum"
NAMES = frozenset(_NAMES.split())


def time_columns(sample: Sample, chosen: Container[str]) -> list[str]:
    """The columns that ``split.time_column`` could name, in the order of the data, without those in ``chosen``."""
    return [
        name for name, values in sample.items() if name and name not in chosen and _has_times(name, ColumnValues(values))
    ]


def _has_times(name: str, column: ColumnValues) -> bool:
    if column.fill < FILLED or column.distinct < DIFFERENT or (column.is_numeric and not NAMES.intersection(words_of(name))):
        return False
    try:
        times = read_times(pa.array(column.present, pa.string()), name)
    except HeadwayError:  # day and month cannot be told apart
        return False
    return bool((times != NO_TIME).mean() >= READABLE and len(set(times.tolist())) >= DIFFERENT)
