"""Parquet: its wanted columns, a few rows at a time."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.sources.nested import value_at
from headway.data.sources.rows import Row, make_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import LocalFile

ROWS = 256  # at a time, so that documents of a megabyte fit in memory
GROUPS = 16  # row groups that a sample is taken from


def read_parquet(file: LocalFile, stream: BinaryIO, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """All rows of a Parquet file; HeadwayError if it lacks a column, ArrowException if it is damaged."""
    with opened_table(file, stream) as table:
        info.columns = table.schema_arrow.names
        tops = {name: name if name in info.columns else name.split(".")[0] for name in columns.wanted}
        columns.require([*info.columns, *(name for name, top in tops.items() if name != top in info.columns)], info.name)
        for batch in table.iter_batches(batch_size=ROWS, columns=list(dict.fromkeys(tops.values()))):
            values = {top: python_values(batch.column(top)) for top in tops.values()}
            nested = {
                name: [value_at({top: value}, name) for value in values[top]] for name, top in tops.items() if name != top
            }
            yield from rows_of_columns(values | nested, columns)


def rows_of_columns(values: dict[str, list[Any]], columns: Columns) -> Iterator[Row]:
    labels = repeat(None) if columns.label is None else values[columns.label]
    extra = zip(*(values[name] for name in columns.extra), strict=True) if columns.extra else repeat(())
    return map(make_row, values[columns.text], labels, extra)


def sample_parquet(file: LocalFile, stream: BinaryIO, rows: int) -> Iterator[dict[str, Any]]:
    """About ``rows`` rows with all columns, evenly from a few row groups that are spread over the file."""
    with opened_table(file, stream) as table:
        groups = list(range(0, table.num_row_groups, math.ceil(table.num_row_groups / GROUPS) or 1))
        step = math.ceil(sum(table.metadata.row_group(group).num_rows for group in groups) / rows) or 1
        first = 0  # row of the next batch to take
        for batch in table.iter_batches(batch_size=ROWS, row_groups=groups):
            chosen = range(first, batch.num_rows, step)
            first = (first - batch.num_rows) % step
            for row in chosen:
                sample = batch.slice(row, 1)  # unlike take, possible for every type
                values = (value for column in sample.columns for value in python_values(column))
                yield dict(zip(sample.schema.names, values, strict=True))


@contextmanager
def opened_table(file: LocalFile, stream: BinaryIO) -> Iterator[pq.ParquetFile]:
    """The file, to be read at any position; a compressed one, or one in a zip file, is first written
    to a temporary file."""
    with tempfile.TemporaryDirectory() as folder:
        path = file.path
        if file.compression or file.member:
            path = Path(folder) / "plain.parquet"
            with path.open("wb") as plain:
                shutil.copyfileobj(stream, plain)
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:
            yield table


def python_values(column: pa.Array) -> list[Any]:
    """A column as Python values; bytes if its strings are not valid UTF-8. Values that Python cannot hold are strings."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        plain = column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        return list(plain.cast(pa.large_binary()).to_pylist())
    except (ValueError, OverflowError, LookupError, pa.ArrowException):  # such as a date after 9999, or an unknown time zone
        try:
            return list(column.cast(pa.string()).to_pylist())
        except pa.ArrowException:
            return [None] * len(column)
