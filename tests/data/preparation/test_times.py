"""Cells become times in UTC, whatever usual form they are in, and nothing is guessed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.preparation.times import NO_TIME, iso_time, read_times
from headway.data.sources.rows import cell_text
from headway.errors import HeadwayError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(when):
    return (when - EPOCH) // timedelta(microseconds=1)


def read(*cells):
    """What the cells of one column are read as, for people; None for no time."""
    return [
        None if time == NO_TIME else iso_time(time) for time in read_times(pa.array(cells, pa.string()), "when").tolist()
    ]


FORMS = {
    "2024-03-11": "2024-03-11",
    " 2024-3-11 ": "2024-03-11",
    "2024/03/11": "2024-03-11",
    "2024.03.11": "2024-03-11",
    "20240311": "2024-03-11",
    "2024-03": "2024-03-01",
    "2024": "2024-01-01",
    "2024-03-11T10:15:30Z": "2024-03-11 10:15:30",
    "2024-03-11 10:15": "2024-03-11 10:15:00",
    "2024-03-11T10:15:30,5": "2024-03-11 10:15:30.500000",
    "2024-03-11T10:15:30.123456789+00:00": "2024-03-11 10:15:30.123456",
    "2024-03-11T23:15:30-02:00": "2024-03-12 01:15:30",
    "2024-03-11 10:15:30 +0530": "2024-03-11 04:45:30",
    "2024-03-11 10:15:30 UTC": "2024-03-11 10:15:30",
    "2024-03-11T10:15:30+01:00[Europe/Berlin]": "2024-03-11 09:15:30",
    "20240311T101530Z": "2024-03-11 10:15:30",
    "20240311101530": "2024-03-11 10:15:30",
    "11 March 2024": "2024-03-11",
    "11-Mar-24": "2024-03-11",
    "11. sept. 1999 08:00": "1999-09-11 08:00:00",
    "Mar 11th, 2024 at": None,
    "Mar 11th, 2024": "2024-03-11",
    "March 11, 2024 3:05 PM": "2024-03-11 15:05:00",
    "March 11, 2024 12:05 a.m.": "2024-03-11 00:05:00",
    "Mon, 11 Mar 2024 10:15:30 +0100": "2024-03-11 09:15:30",
    "Mon Mar 11 10:15:30 +0000 2024": "2024-03-11 10:15:30",
    "Mon Mar 11 10:15:30 2024": "2024-03-11 10:15:30",
    "2024年3月11日": "2024-03-11",
    "2024년 3월 11일 10:15": "2024-03-11 10:15:00",
    "2024. 3. 11.": "2024-03-11",
    "1710152130": "2024-03-11 10:15:30",
    "1710152130.25": "2024-03-11 10:15:30.250000",
    "1.71015213e9": "2024-03-11 10:15:30",
    "1710152130250": "2024-03-11 10:15:30.250000",
    "1710152130250001": "2024-03-11 10:15:30.250001",
    "1710152130000000000": "2024-03-11 10:15:30",
}


def test_times_in_every_usual_form_are_read_also_in_one_column():
    assert dict(zip(FORMS, read(*FORMS), strict=True)) == FORMS


@pytest.mark.parametrize("cell", FORMS)
def test_a_form_is_read_alone_as_it_is_among_others(cell):
    assert read(cell) == [FORMS[cell]]


@pytest.mark.parametrize(
    "cell",
    [
        *(
            None,
            "",
            "   ",
            "yesterday",
            "10:15",
            "2024-02-30",
            "2024-13-01",
            "2024-03-11T25:00",
            "2024-03-11T10:15:30+99:00",
        ),
        *(
            "9999-12-31",
            "0001-01-01",
            "0",
            "12",
            "45362",
            "-1710152130",
            "13:00 PM",
            "March 11, 2024 13:05 PM",
            "nan",
            "1e400",
        ),
        *("12 marvels 2024", "1 day, 0:00:00", "１９９９"),
    ],
)
def test_what_is_no_time_is_not_guessed(cell):
    assert read(cell, "2024-03-11") == [None, "2024-03-11"]


@given(st.lists(st.datetimes(datetime(1000, 1, 1), datetime(2100, 12, 31)), min_size=1, max_size=20), st.integers(-14, 14))
def test_iso_times_are_read_as_the_standard_library_reads_them(moments, hours):
    zoned = [moment.replace(tzinfo=timezone(timedelta(hours=hours))) for moment in moments]
    found = read_times(pa.array([moment.isoformat() for moment in zoned]), "when")
    expected = [micros(moment) if 1000 <= _year(moment) <= 2100 else NO_TIME for moment in zoned]
    assert found.tolist() == expected


def _year(moment):
    try:
        return moment.astimezone(UTC).year
    except OverflowError:
        return 0


@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 1, 1)), min_size=1, max_size=20), st.data())
def test_written_times_are_read_back(moments, data):
    moments = [moment.replace(microsecond=0, tzinfo=UTC) for moment in moments]
    forms = ["%Y/%m/%d %H:%M:%S", "%d %b %Y %H:%M:%S", "%B %d, %Y, %I:%M:%S %p", "%Y%m%d%H%M%S", "%a %b %d %H:%M:%S %Y"]
    cells = [moment.strftime(data.draw(st.sampled_from(forms))) for moment in moments]
    assert read_times(pa.array(cells), "when").tolist() == [micros(moment) for moment in moments]
    mail = [format_datetime(moment) for moment in moments]
    assert read_times(pa.array(mail), "when").tolist() == [micros(moment) for moment in moments]


@given(
    st.sets(st.dates(date(1900, 1, 1), date(2100, 12, 31)), min_size=1, max_size=30), st.sampled_from("./-"), st.booleans()
)
def test_dates_with_the_year_last_are_read_right_or_refused(days, mark, is_day_first):
    form = mark.join(("%d", "%m", "%Y") if is_day_first else ("%m", "%d", "%Y"))
    cells = pa.array([day.strftime(form) for day in days])
    is_clear = any(day.day > 12 for day in days)
    is_open = any(day.day <= 12 and day.day != day.month for day in days)
    if is_open and not is_clear:
        with pytest.raises(HeadwayError, match="whether the day or the month is first"):
            read_times(cells, "when")
    else:
        expected = [micros(datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in days]
        assert read_times(cells, "when").tolist() == expected


def test_the_order_of_day_and_month_follows_from_all_values_with_the_same_mark():
    assert read("03.11.2024", "25.12.2024 14:05") == ["2024-11-03", "2024-12-25 14:05:00"]
    assert read("11/03/2024", "12/25/2024 2:05 pm") == ["2024-11-03", "2024-12-25 14:05:00"]
    assert read("03.11.2024", "25.12.2024", "11/03/2024", "12/25/2024")[::2] == ["2024-11-03"] * 2
    assert read("5/5/2024", "6/6/2024") == ["2024-05-05", "2024-06-06"], "both orders say the same"
    assert read("3/1/24", "3/25/24") == ["2024-03-01", "2024-03-25"]


def test_a_typing_error_does_not_change_the_order_and_is_unreadable():
    days = [f"{day:02}.12.2024" for day in range(1, 32)] * 2
    assert read(*days, "12.25.2024")[-2:] == ["2024-12-31", None]
    assert read("31.04.2024", "30.04.2024") == [None, "2024-04-30"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["03/11/2024", "04/12/2024"], "'03/11/2024', and no date in it tells whether the day or the month is first"),
        (["25/12/2024", "12/25/2024"], "with the day first, such as '25/12/2024', and with the month first, such as '12/25"),
        (["25.12.24", "01.12.24"], "whether the year is first or last"),
    ],
)
def test_an_order_that_cannot_be_told_is_refused_in_one_line(cells, message):
    with pytest.raises(HeadwayError, match=message) as raised:
        read(*cells)
    assert "'when'" in str(raised.value)
    assert "\n" not in str(raised.value)


TEMPORAL = [
    (pa.date32(), [date(2024, 3, 11)]),
    (pa.date64(), [date(2024, 3, 11)]),
    (pa.timestamp("s"), [datetime(2024, 3, 11)]),
    (pa.timestamp("ms", "Europe/Berlin"), [datetime(2024, 3, 11, tzinfo=UTC)]),
    (pa.timestamp("us", "UTC"), [datetime(2024, 3, 11, tzinfo=UTC)]),
    (pa.timestamp("ns"), [datetime(2024, 3, 11)]),
    (pa.int64(), [1710115200]),
    (pa.float64(), [1710115200.0]),
    (pa.string(), ["2024-03-11"]),
]


@pytest.mark.parametrize(("kind", "values"), TEMPORAL, ids=[str(kind) for kind, _ in TEMPORAL])
def test_temporal_types_of_arrow_are_read_by_the_cells_that_ingest_keeps_of_them(kind, values):
    cells = [cell_text(value) for value in pa.array(values, kind).to_pylist()]
    assert read(*cells) == ["2024-03-11"]


def test_no_cells_are_no_times():
    assert read_times(pa.array([], pa.string()), "when").tolist() == []
    assert read_times(pa.nulls(2, pa.string()), "when").tolist() == [NO_TIME] * 2


def test_equal_cells_have_equal_times_in_their_order():
    cells = ["2024-03-11", "2023-03-11", None, "2024-03-11"]
    assert np.array_equal(read_times(pa.array(cells), "when")[[0, 1, 2]], read_times(pa.array(cells), "when")[[3, 1, 2]])
