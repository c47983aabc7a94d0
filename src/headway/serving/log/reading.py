"""Reads the prediction log, one part after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from headway.errors import HeadwayError
from headway.params import LogParams, nearest
from headway.serving.log.rows import SCHEMA, TEXT_COLUMNS, TIME
from headway.serving.log.store import Part, PartStore, UnreadablePart, part_name
from headway.serving.log.writer import open_log

ROWS_PER_BATCH = 10_000


def _warn(problem: str) -> None:
    logging.getLogger("headway").warning("prediction log: %s", problem)


def read_log(
    params: LogParams,
    since: datetime | None = None,
    until: datetime | None = None,
    columns: Sequence[str] | None = None,
    on_unreadable: Callable[[str], None] = _warn,
) -> Iterator[pa.RecordBatch]:
    """The rows of the log in batches. One part is in memory at a time; parts come in the order of their first row.

    The metadata of a batch's schema has the classes, in the order of ``probabilities``: see
    :func:`headway.serving.log.rows.classes_of`. Columns of texts that were not kept are null.

    Args:
        since, until: times between which the rows are, the first included; UTC if they have no time zone. None for no limit.
        columns: names of :data:`headway.serving.log.rows.SCHEMA`; None for all.
        on_unreadable: called with the path and the reason for each part that is skipped because it cannot be read.

    Raises:
        HeadwayError: no folder is set, it cannot be listed, or there is no such column.
    """
    names = list(SCHEMA.names if columns is None else columns)
    for name in names:
        if name not in SCHEMA.names:
            raise HeadwayError(f"{name!r}: the prediction log has no such column; {nearest(name, SCHEMA.names)}")
    since, until = (time and _in_utc(time) for time in (since, until))
    store = open_log(params)
    return _batches(store, since, until, names, on_unreadable)


def _batches(
    store: PartStore, since: datetime | None, until: datetime | None, names: list[str], on_unreadable: Callable[[str], None]
) -> Iterator[pa.RecordBatch]:
    names_and_time = list(dict.fromkeys(["time", *names]))
    for part in store.parts(since and since.date(), until and until.date()):
        if until is not None and part.name > part_name(until, "~"):  # its first row is later
            continue
        try:
            table = _within(read_part(store, part, names_and_time), since, until)
        except UnreadablePart as problem:
            on_unreadable(str(problem))
            continue
        yield from table.select(names).to_batches(max_chunksize=ROWS_PER_BATCH)


def read_part(store: PartStore, part: Part, names: Sequence[str]) -> pa.Table:
    """All rows of a part, with these columns of :data:`headway.serving.log.rows.SCHEMA`; errors as for :meth:`PartStore.read`."""
    return _complete(store.read(part, names), part, names)


def _complete(table: pa.Table, part: Part, names: Sequence[str]) -> pa.Table:
    """A part's rows with these columns, null where its texts were not kept; UnreadablePart if it is not a part of the log."""
    columns = [
        table[name] if name in table.column_names else pa.nulls(table.num_rows, SCHEMA.field(name).type) for name in names
    ]
    try:
        if missing := sorted(set(names) - set(table.column_names) - set(TEXT_COLUMNS["full"])):
            raise ValueError(f"it has no column {missing[0]!r}")
        schema = pa.schema([SCHEMA.field(name) for name in names], table.schema.metadata)
        return pa.table(columns, names=list(names)).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise UnreadablePart(f"{part.path}: is not of the prediction log: {error}") from None


def _within(table: pa.Table, since: datetime | None, until: datetime | None) -> pa.Table:
    if since is not None:
        table = table.filter(pc.greater_equal(table["time"], pa.scalar(since, TIME)))
    if until is not None:
        table = table.filter(pc.less(table["time"], pa.scalar(until, TIME)))
    return table


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
