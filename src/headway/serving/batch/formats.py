"""The formats of the output. A part of it is written on its own; joined in order, the parts are the whole file."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.sources.rows import cell_text, replace_surrogates
from headway.errors import HeadwayError, first_line

#: One row: its values by column, those that are added last.
OutputRow = Mapping[str, Any]
FORMATS = ("csv", "tsv", "jsonl", "parquet")


def format_of(out: str) -> str:
    """The format that a file's name asks for; HeadwayError if it is none of ``FORMATS``."""
    ending = Path(out).suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise HeadwayError(f"--out: {out}: expected a name ending in .{', .'.join(FORMATS)}, or - for standard output")
    return ending


def write_part(path: Path, form: str, rows: Sequence[OutputRow], schema: pa.Schema) -> None:
    """Write some rows, without a header.

    Raises:
        HeadwayError: Parquet cannot hold a value in the type of its column.
    """
    if form == "parquet":
        pq.write_table(_table(rows, schema), path)
        return
    write: Callable[[TextIO, Iterable[OutputRow], pa.Schema], None] = _write_json if form == "jsonl" else _WRITE_CSV[form]
    stream = io.StringIO(newline="")
    write(stream, rows, schema)
    text = stream.getvalue()
    try:
        path.write_bytes(text.encode())
    except UnicodeEncodeError:  # an escape in JSON, or invalid bytes in another column than the text's
        path.write_bytes(replace_surrogates(text).encode())


def join(parts: Sequence[Path], target: Path, form: str, schema: pa.Schema) -> None:
    """Write the whole file from its parts."""
    if form == "parquet":
        with pq.ParquetWriter(target, schema) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part, schema=schema, memory_map=False))
        return
    with target.open("wb") as whole:
        if form in _WRITE_CSV:
            header = io.StringIO(newline="")
            _csv_writers(header, form)[0].writerow(schema.names)
            whole.write(header.getvalue().encode())
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)


def _csv_writers(stream: TextIO, form: str) -> tuple[Any, Any]:
    """A writer that quotes what needs it, and one that quotes every cell."""
    delimiter = "\t" if form == "tsv" else ","
    return (
        csv.writer(stream, delimiter=delimiter, lineterminator="\n"),
        csv.writer(stream, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL),
    )


def _csv_to(form: str) -> Callable[[TextIO, Iterable[OutputRow], pa.Schema], None]:
    def write(stream: TextIO, rows: Iterable[OutputRow], schema: pa.Schema) -> None:
        plain, quoted = _csv_writers(stream, form)
        for row in rows:
            cells = [cell(row.get(name)) for name in schema.names]
            # Python before 3.13 does not quote a carriage return, which ends a row for other readers.
            (quoted if any("\r" in text for text in cells) else plain).writerow(cells)

    return write


_WRITE_CSV = {form: _csv_to(form) for form in ("csv", "tsv")}


def cell(value: Any) -> str:
    """A value as the cell of a table: "" for a missing one, JSON for a list or an object."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(_plain(value), ensure_ascii=False)
    return cell_text(value) or ""


def _write_json(stream: TextIO, rows: Iterable[OutputRow], _schema: pa.Schema) -> None:
    for row in rows:
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):  # a date, bytes, NaN, …
            line = json.dumps(_plain(row), ensure_ascii=False)
        stream.write(line + "\n")


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity are null, dates, decimals and the like are strings."""
    match value:
        case dict():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
    return cell_text(value)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _table(rows: Sequence[OutputRow], schema: pa.Schema) -> pa.Table:
    arrays = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = [row.get(name) for row in rows]
        if is_text(kind):
            values = [None if value is None else replace_surrogates(cell(value)) for value in values]
        try:
            arrays.append(pa.array(values, kind, from_pandas=False))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise HeadwayError(
                f"column {name!r}: cannot be written as Parquet's type {kind}: {first_line(error)}; write .jsonl or .csv"
            ) from None
    return pa.Table.from_arrays(arrays, schema=schema)
