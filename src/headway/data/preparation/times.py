"""Times of rows: from cells as written, in one of the usual forms, to UTC. What the times decide is in ``time_split``.

Read are dates, and dates with a time of day: ISO 8601, with any of the separators ``-``, ``/`` and ``.``, with English names of
months, in Chinese, Japanese and Korean, and as in mail headers; and seconds, milliseconds, microseconds or nanoseconds since
1970. A time without a zone is in UTC, and a date is its midnight. pandas, dateutil and dateparser read more, but guess the order
of day and month value by value. Here it follows from all values, and a column that leaves it open is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from headway.errors import HeadwayError
from headway.yaml_files import shortened

#: The time of a row that has none, or an unreadable one.
NO_TIME = np.iinfo(np.int64).min
#: Years outside of this range are placeholders, such as 9999-12-31, or other numbers: such times are unreadable.
YEARS = (1000, 2100)
#: Two-digit years from this one are of the last century, as in POSIX.
PIVOT = 69
#: Share of the dates that tell the order of day and month and that may contradict the others: typing errors, then unreadable.
CONTRADICTING = 0.05

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|"
    "dec(?:ember)?"
)
_NAME = rf"(?P<name>(?i:{_NAMES}))\.?"
_WEEKDAY = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_ZONE = r"(?:\s*(?P<zone>[Zz]|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}:?(?:\d{2})?)(?:\s*[\[(][\w\s/+-]+[\])])?)?"
_CLOCK = (
    r"(?:,?(?:[Tt]|\s)\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    rf"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?{_ZONE})?$"
)
#: Dates whose form says which part is which, each pattern for the values that no pattern before it matches.
PATTERNS = (
    r"^(?P<year>\d{4})\s?[-/.年년]\s?(?P<month>\d{1,2})\s?[-/.月월]\s?(?P<day>\d{1,2})\s?[日일.]?" + _CLOCK,
    r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    rf"(?:[Tt\s_-]?(?P<hour>\d{{2}}):?(?P<minute>\d{{2}}):?(?P<second>\d{{2}})(?:[.,](?P<fraction>\d{{1,9}}))?{_ZONE})?$",
    r"^(?P<year>\d{4})(?:[-/.](?P<month>\d{1,2}))?$",
    rf"^{_WEEKDAY}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?[\s./-]*{_NAME},?[\s./-]*(?P<year>\d{{4}}|\d{{2}})" + _CLOCK,
    rf"^{_WEEKDAY}{_NAME}\s*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})" + _CLOCK,
    rf"^{_WEEKDAY}{_NAME}\s+(?P<day>\d{{1,2}})\s+(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}}):(?P<second>\d{{2}}){_ZONE}"
    r"\s+(?P<year>\d{4})$",
)
#: Dates of three numbers with the year last.
NUMERIC = r"^(?P<one>\d{1,2})(?P<mark>[-/.])\s?(?P<two>\d{1,2})[-/.]\s?(?P<year>\d{4}|\d{2})" + _CLOCK
NUMBER = r"^\+?\d+(?:\.\d*)?(?:[eE]\+?\d+)?$"

Fields = Mapping[str, pa.Array]


def read_times(cells: pa.Array, column: str) -> np.ndarray:
    """The times of cells in microseconds since 1970 in UTC, int64, (cells,); ``NO_TIME`` where one is missing or unreadable.

    Args:
        cells: strings, or null.
        column: its name, for messages.

    Raises:
        HeadwayError: the order of day and month cannot be told, or differs within the column.
    """
    encoded = cells.dictionary_encode()
    found = _distinct_times(pc.utf8_trim_whitespace(encoded.dictionary.cast(pa.string())), column)
    indices = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(found, NO_TIME)[indices])


def iso_time(time: int) -> str:
    """A time in ISO 8601, for people: 2024-03-11 10:00:00, in UTC; without the time of day at midnight."""
    found = pd.Timestamp(time, unit="us")
    return str(found.isoformat(sep=" ")).removesuffix(" 00:00:00")


def _distinct_times(values: pa.Array, column: str) -> np.ndarray:
    found = np.full(len(values), NO_TIME, dtype=np.int64)
    pending = np.arange(len(values))
    for pattern in (*PATTERNS, NUMERIC):
        left = values.take(pa.array(pending))
        fields = pc.extract_regex(left, pattern)
        matched = np.asarray(fields.is_valid().to_numpy(zero_copy_only=False))
        if matched.any():
            parts = _named(fields.filter(pa.array(matched)))
            if pattern is NUMERIC:
                parts = _ordered(parts, left.filter(pa.array(matched)), column)
            found[pending[matched]] = _microseconds(parts)
        pending = pending[~matched]
    left = values.take(pa.array(pending))
    numbers = np.asarray(pc.match_substring_regex(left, NUMBER).to_numpy(zero_copy_only=False), dtype=bool)
    found[pending[numbers]] = _since_1970(left.filter(pa.array(numbers)).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return found


def _named(fields: pa.StructArray) -> dict[str, pa.Array]:
    return {field.name: part for field, part in zip(fields.type, fields.flatten(), strict=True)}


def _microseconds(fields: Fields) -> np.ndarray:
    """Times of the parts of dates, as strings; "" stands for a part that was not written."""
    size = len(fields["year"])

    def written(name: str, default: str) -> pa.Array:
        part = fields.get(name, pa.array([""] * size))
        return pc.if_else(pc.equal(part, ""), default, part)

    def two_digits(name: str, default: str) -> pa.Array:
        return pc.utf8_lpad(written(name, default), 2, "0")

    short = pc.equal(pc.utf8_length(fields["year"]), 2)
    century = pc.if_else(pc.greater_equal(fields["year"], f"{PIVOT:02}"), "19", "20")
    year = pc.if_else(short, pc.binary_join_element_wise(century, fields["year"], ""), fields["year"])
    month = two_digits("month", "01")
    if "name" in fields:
        short_names = pc.utf8_slice_codeunits(pc.utf8_lower(fields["name"]), 0, 3)
        month = pc.utf8_lpad(pc.add(pc.index_in(short_names, pa.array(_MONTHS)), 1).cast(pa.string()), 2, "0")
    date = pc.binary_join_element_wise(year, month, two_digits("day", "01"), "-")
    hour = _hours(two_digits("hour", "00"), fields)
    clock = pc.binary_join_element_wise(hour, two_digits("minute", "00"), two_digits("second", "00"), ":")
    fraction = pc.utf8_slice_codeunits(written("fraction", "0"), 0, 6)
    offset = pc.replace_substring_regex(written("zone", ""), "^[^+-]*", "")  # from UTC; "" for Z, UTC and GMT
    zone = pc.if_else(pc.equal(offset, ""), "Z", offset)
    iso = pc.binary_join_element_wise(date, "T", clock, ".", fraction, zone, "")
    times = pd.to_datetime(iso.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    years = times.dt.year.between(*YEARS).to_numpy()
    micros = times.dt.as_unit("us").dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return np.where(years, micros, NO_TIME)


def _hours(hours: pa.Array, fields: Fields) -> pa.Array:
    """Hours from 00 to 23, from hours that may be of the first or second half of the day; 12 AM is 00."""
    if "half" not in fields:
        return hours
    half, number = pc.utf8_lower(fields["half"]), hours.cast(pa.int8())
    # An hour such as 13 PM is none, which 99 is neither.
    twelve = pc.if_else(pc.and_(pc.greater(number, 0), pc.less_equal(number, 12)), number, pa.scalar(99, pa.int8()))
    morning = pc.if_else(pc.equal(twelve, 12), pa.scalar(0, pa.int8()), twelve)
    afternoon = pc.if_else(pc.equal(twelve, 12), twelve, pc.if_else(pc.less(twelve, 12), pc.add(twelve, 12), twelve))
    chosen = pc.if_else(pc.equal(half, "a"), morning, pc.if_else(pc.equal(half, "p"), afternoon, number))
    return pc.utf8_lpad(chosen.cast(pa.string()), 2, "0")


def _ordered(fields: Fields, values: pa.Array, column: str) -> dict[str, pa.Array]:
    """Fields with ``day`` and ``month`` for ``one`` and ``two``, by the order that all values with the same mark have."""
    one, two = (fields[name].cast(pa.int8()).to_numpy(zero_copy_only=False) for name in ("one", "two"))
    marks = np.array(fields["mark"].to_pylist())
    is_day_first = np.zeros(len(marks), dtype=bool)
    for mark in np.unique(marks):
        here = marks == mark
        day_first, month_first = here & (one > 12) & (two <= 12), here & (two > 12) & (one <= 12)
        is_day_first[here] = day_first.sum() > month_first.sum()
        fewer, more = sorted((day_first, month_first), key=np.count_nonzero)
        open_cases = here & (one <= 12) & (two <= 12) & (one != two)
        if fewer.sum() > CONTRADICTING * (fewer | more).sum():
            raise HeadwayError(
                f"split.time_column: {column!r} has dates with the day first, such as {_example(values, day_first)}, and with "
                f"the month first, such as {_example(values, month_first)}; write them all as 2024-12-31"
            )
        if open_cases.any() and not more.any():
            raise HeadwayError(
                f"split.time_column: {column!r} has dates such as {_example(values, open_cases)}, and no date in it tells "
                "whether the day or the month is first; write them as 2024-12-31"
            )
        if _may_be_year_first(fields, here, two):
            raise HeadwayError(
                f"split.time_column: {column!r} has dates such as {_example(values, here)}, and no date in it tells whether the "
                "year is first or last; write years with four digits"
            )
    day, month = (
        pc.if_else(pa.array(is_day_first), *pair)
        for pair in ((fields["one"], fields["two"]), (fields["two"], fields["one"]))
    )
    return {**fields, "day": day, "month": month}


def _may_be_year_first(fields: Fields, here: np.ndarray, two: np.ndarray) -> bool:
    """Whether all of these dates are written as 24-03-11 would be, year, month, day: each part with two digits."""
    parts = [fields[name].filter(pa.array(here)) for name in ("one", "two", "year")]
    if any(pc.any(pc.not_equal(pc.utf8_length(part), 2)).as_py() for part in parts):
        return False
    return bool((two[here] <= 12).all() and (parts[2].cast(pa.int8()).to_numpy(zero_copy_only=False) <= 31).all())


def _example(values: pa.Array, chosen: np.ndarray) -> str:
    return shortened(repr(values[int(np.flatnonzero(chosen)[0])].as_py()))


def _since_1970(numbers: np.ndarray) -> np.ndarray:
    """Times of numbers of seconds, milliseconds, microseconds or nanoseconds.

    The unit follows from the size: for times from 1973 to 2286 no two units overlap. Other numbers, such as row numbers and 0,
    are no times.
    """
    found = np.full(len(numbers), NO_TIME, dtype=np.int64)
    for per_second in (1, 10**3, 10**6, 10**9):
        seconds = numbers / per_second
        here = (seconds >= 1e8) & (seconds < 1e10)
        found[here] = np.round(numbers[here] * (1e6 / per_second)).astype(np.int64)
    latest = np.datetime64(f"{YEARS[1] + 1}-01-01", "us").astype(np.int64)
    return np.where(found < latest, found, NO_TIME)
