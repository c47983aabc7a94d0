"""Reading the log: all rows, in order, one part at a time, and no damaged part hides the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.params import LogParams
from headway.serving.log import read_log
from headway.serving.log import reading as module
from headway.serving.log.rows import Answered, classes_of, table_of
from headway.serving.log.store import PartStore, part_name
from tests.serving.conftest import CLASSES
from tests.serving.log.conftest import Served

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def four(log_params: LogParams, served: Served) -> LogParams:
    """A log of four parts with one row each, half a day apart, written in another order."""
    store = PartStore.open(log_params.folder)
    for index in (2, 0, 3, 1):
        time = NOON + 12 * HOUR * index
        uniform = np.full((1, 3), 1 / 3, dtype=np.float32)
        answered = Answered(served, [f"r{index}"], ["fine"], uniform, "champion", "http", time)
        store.write(part_name(time, f"{9 - index}"), time.date(), table_of([answered], "full"))
    return log_params


def ids(params: LogParams, *times: datetime | None, **options: Any) -> list[str]:
    return [one for batch in read_log(params, *times, **options) for one in batch["request_id"].to_pylist()]


def test_parts_come_in_the_order_of_time(four: LogParams) -> None:
    assert ids(four) == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (NOON, NOON + HOUR, ["r0"]),
        (NOON, NOON + 12 * HOUR, ["r0"]),  # the end is excluded
        (NOON + HOUR, None, ["r1", "r2", "r3"]),
        (None, NOON + 25 * HOUR, ["r0", "r1", "r2"]),
        (NOON.replace(tzinfo=None), (NOON + HOUR).replace(tzinfo=None), ["r0"]),
        (NOON + 40 * HOUR, None, []),
    ],
)
def test_rows_are_those_between_two_times(
    four: LogParams, since: datetime | None, until: datetime | None, expected: list[str]
) -> None:
    assert ids(four, since, until) == expected


def test_only_the_wanted_columns_are_read_and_each_batch_names_its_classes(four: LogParams) -> None:
    batch = next(read_log(four, columns=["probabilities", "label"]))
    assert batch.schema.names == ["probabilities", "label"]
    assert classes_of(batch.schema.metadata) == CLASSES
    with pytest.raises(HeadwayError, match=r"'labels'.*did you mean label"):
        read_log(four, columns=["labels"])


def test_a_batch_is_never_larger_than_its_limit(
    answer: Callable[..., np.ndarray], log_params: LogParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_BATCH", 2)
    answer(list("abcde"), ["fine"] * 5)
    assert [batch.num_rows for batch in read_log(log_params)] == [2, 2, 1]


def test_parts_that_cannot_be_read_are_skipped_and_named(four: LogParams) -> None:
    parts = sorted(Path(four.folder).glob("date=*/*.parquet"))
    parts[0].write_bytes(parts[0].read_bytes()[:-40])
    pq.write_table(pa.table({"time": [NOON], "request_id": [3]}), parts[1])
    (parts[2].parent / ".part-20261201T120000000000Z-1-a.parquet.partial").write_bytes(b"half")
    (parts[2].parent / "notes.txt").write_text("mine")
    Path(four.folder, "date=2026-99-99").mkdir()
    problems: list[str] = []
    assert ids(four, on_unreadable=problems.append) == ["r2", "r3"]
    assert [str(part) in problem for part, problem in zip(parts[:2], problems, strict=True)] == [True, True]


def test_a_log_without_rows_has_none(log_params: LogParams) -> None:
    assert ids(log_params) == []
