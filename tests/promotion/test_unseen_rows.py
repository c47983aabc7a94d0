"""A version that may have seen the current test rows is recognised by its split, and with times by the border."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from headway.errors import HeadwayError
from headway.params import Params
from headway.promotion.unseen_rows import SPLIT_TAG, TEST_FROM_TAG, require_unseen, split_tag, time_tag

START = datetime(2024, 1, 1, 12, 30, tzinfo=UTC)


def rows_from(day: int) -> pa.Table:
    """Test rows of ten days in some order."""
    times = [START + timedelta(days=day + place) for place in (3, 0, 9, 5)]
    return pa.table({"id": list("abcd"), "time": pa.array(times, pa.timestamp("us", "UTC"))})


ROWS = pa.table({"id": ["a"]})


@pytest.fixture
def by_time(params: Params) -> Params:
    return params.override({"split.time_column": "when"})


def check(tags: dict[str, str], params: Params, rows: pa.Table) -> None:
    version: Any = SimpleNamespace(version="7", tags=tags)
    require_unseen(version, [], params, rows, "or else")


def test_a_version_is_compared_on_later_test_rows_and_on_the_same(by_time: Params) -> None:
    tags = {**split_tag(by_time), **time_tag(rows_from(5))}
    check(tags, by_time, rows_from(5))
    check(tags, by_time, rows_from(6))


def test_a_version_is_not_compared_on_rows_from_before_its_own_test_rows(by_time: Params) -> None:
    tags = {**split_tag(by_time), **time_tag(rows_from(5))}
    with pytest.raises(
        HeadwayError, match=r"begin at 2024-01-05T12:30.*those of version 7 began at 2024-01-06T12:30"
    ) as raised:
        check(tags, by_time, rows_from(4))
    assert str(raised.value).endswith("or else")


def test_a_version_whose_border_is_unknown_is_not_compared(by_time: Params) -> None:
    with pytest.raises(HeadwayError, match="unknown up to which time version 7 was trained"):
        check(split_tag(by_time), by_time, rows_from(5))


@pytest.mark.parametrize("knows_the_knob", [True, False], ids=["by hash", "from before 0.2.0"])
def test_a_version_of_a_split_by_hash_is_not_compared_on_the_latest_rows(
    params: Params, by_time: Params, knows_the_knob: bool
) -> None:
    knobs = json.loads(split_tag(params)[SPLIT_TAG])
    assert not time_tag(ROWS)
    if not knows_the_knob:
        del knobs["split.time_column"]
    tags = {SPLIT_TAG: json.dumps(knobs)}
    check(tags, params, ROWS)
    with pytest.raises(HeadwayError, match=r"another split\.time_column"):
        check(tags, by_time, rows_from(5))


def test_a_version_of_a_split_by_time_is_not_compared_on_rows_chosen_by_hash(params: Params, by_time: Params) -> None:
    with pytest.raises(HeadwayError, match=r"another split\.time_column"):
        check({**split_tag(by_time), **time_tag(rows_from(5))}, params, ROWS)


def test_a_model_of_the_past_is_compared_on_the_same_test_rows(by_time: Params) -> None:
    past = by_time.override({"split.train_until": "2023-12-01"})
    check({**split_tag(past), **time_tag(rows_from(5))}, by_time, rows_from(5))
    check({**split_tag(by_time), **time_tag(rows_from(5))}, past, rows_from(5))


def test_the_tag_has_the_time_of_the_first_test_row() -> None:
    assert time_tag(rows_from(5)) == {TEST_FROM_TAG: "2024-01-06T12:30:00.000000"}
