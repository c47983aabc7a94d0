"""Reading the Parquet tables that stages leave for one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headway.errors import HeadwayError, first_line


def read_table(path: Path, made_by: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table that a stage made, or some of its columns.

    Raises:
        HeadwayError: the file is missing or damaged; the message names the stage that makes it.
    """
    with _found_whole(path, made_by):
        return pq.read_table(path, columns=columns)


def read_batches(path: Path, made_by: str, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read a table that a stage made, at most so many rows at a time and never more than a row group, which is all that is held.

    Raises:
        HeadwayError: as :func:`read_table`.
    """
    # Without these two it would hold whole compressed columns, and read ahead.
    with _found_whole(path, made_by), pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            yield from file.iter_batches(rows, row_groups=[group], columns=columns)


@contextmanager
def _found_whole(path: Path, made_by: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise HeadwayError(f"{path}: missing; it is made by `dvc repro {made_by}`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise HeadwayError(
            f"{path}: damaged ({first_line(error)}); make it again with `dvc repro --force {made_by}`"
        ) from None
