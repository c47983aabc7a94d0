"""Parquet: the columns of it that are asked for, some rows at a time."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.sources.source import Columns, Facts, Row, row_of
from headway.data.sources.streams import LocalFile

ROWS = 256  # at a time: documents of a megabyte fit too
GROUPS = 16  # row groups that are enough to know a file


def rows_of(file: LocalFile, columns: Columns, facts: Facts) -> Iterator[Row]:
    """All rows of a Parquet file.

    Raises:
        HeadwayError: the file lacks a column.
        pyarrow.ArrowException: the file is damaged.
    """
    with _opened(file) as table:
        facts.columns = table.schema_arrow.names
        columns.require(facts.columns, file.name)
        for batch in table.iter_batches(batch_size=ROWS, columns=columns.wanted):
            texts = _values(batch.column(columns.text))
            labels = [None] * len(texts) if columns.label is None else _values(batch.column(columns.label))
            more = zip(*(_values(batch.column(name)) for name in columns.more), strict=True) if columns.more else repeat(())
            yield from map(row_of, texts, labels, more)


def records_of(file: LocalFile, rows: int) -> Iterator[dict[str, Any]]:
    """About so many rows with all columns, evenly spread over a few row groups that are spread over the file.

    Raises:
        pyarrow.ArrowException: the file is damaged.
    """
    with _opened(file) as table:
        groups = list(range(0, table.num_row_groups, math.ceil(table.num_row_groups / GROUPS) or 1))
        step = math.ceil(sum(table.metadata.row_group(group).num_rows for group in groups) / rows) or 1
        first = 0  # row of the next batch that is taken
        for batch in table.iter_batches(batch_size=ROWS, row_groups=groups):
            some = batch.take(pa.array(range(first, batch.num_rows, step), pa.int64()))
            first = (first - batch.num_rows) % step
            for values in zip(*map(_values, some.columns), strict=True):
                yield dict(zip(some.schema.names, values, strict=True))


@contextmanager
def _opened(file: LocalFile) -> Iterator[pq.ParquetFile]:
    """A Parquet file to be read from anywhere, within the block; a compressed one is unpacked for that."""
    with tempfile.TemporaryDirectory() as folder:
        path = file.path
        if file.compression:
            path = Path(folder) / "plain.parquet"
            with file.open_bytes() as packed, path.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)  # its table of contents stands at the end, which no stream gets at
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:
            yield table


def _values(column: pa.Array) -> list[Any]:
    """A column's cells as Python's values; of strings that are not valid UTF-8, the bytes."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        return list(plain.cast(pa.large_binary()).to_pylist())
