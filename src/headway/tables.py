"""Readers for the Parquet tables that stages write for each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headway.files import stage_output

DAMAGE = (pa.ArrowInvalid, OSError)


def read_table(path: Path, made_by: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table that a stage wrote, or some of its columns.

    Raises:
        StageOutputError: the file is missing or damaged.
    """
    with stage_output(path, made_by, *DAMAGE):
        return pq.read_table(path, columns=columns)


def read_batches(path: Path, made_by: str, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read a table that a stage wrote in batches of at most ``rows`` rows, holding one row group in memory at a time.

    Raises:
        StageOutputError: the file is missing or damaged.
    """
    # By default, pyarrow holds whole compressed columns in memory and reads ahead.
    with stage_output(path, made_by, *DAMAGE), pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(rows, row_groups=[group], columns=columns)
