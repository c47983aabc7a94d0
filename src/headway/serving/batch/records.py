"""The rows of an input file with all of their columns, and the facts about it that a job needs before it begins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from headway.data.sources.csv_table import CsvLayout, best_layout, is_header, layout_for
from headway.data.sources.delimited import StrayQuoteDetector, table_rows
from headway.data.sources.formats import format_of, read_document
from headway.data.sources.json_objects import json_values, require_rows
from headway.data.sources.labelled_lines import LineFormat, line_records
from headway.data.sources.nested import value_at
from headway.data.sources.parquet import ROWS, opened_table, python_values
from headway.data.sources.rows import Row, make_row, replace_surrogates, unreadable_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import LocalFile, TextFile
from headway.errors import HeadwayError

STRING = pa.string()


class Record(NamedTuple):
    """One row of the input."""

    values: Mapping[str, Any]  # by column, as read; of an unreadable row, its beginning under the name of the text column
    text: str | None  # None if it is missing or the row cannot be read
    problem: str = ""  # why the row cannot be read, "" if it can


@dataclass(frozen=True)
class InputFile:
    """A file to label, and how it is read."""

    file: LocalFile
    text_column: str  # "" if it is not known yet; then no record has a text
    encoding: str = "auto"
    constant: Mapping[str, str] = field(default_factory=dict)  # columns from the names of its folders
    is_document: bool = False  # whether the whole file is one text
    is_json: bool = False  # whether its rows are JSON objects


@dataclass
class Facts:
    """What is known of a file when all of its records have been read."""

    sha256: str = ""  # hex digest of the stored bytes
    types: dict[str, pa.DataType | None] = field(default_factory=dict)  # of the columns; None if the values decide
    by_value: bool = False  # whether the values decide


def records(source: InputFile, facts: Facts) -> Iterator[Record]:
    """All rows of a file, in order, with ``facts`` filled in. Blank lines are not rows.

    Raises:
        HeadwayError: the file is empty, damaged or of an unknown kind, lacks the text column, or changes meanwhile.
    """
    with source.file.opened() as (stored, stream):
        if source.file.kind == ".parquet":
            found = _parquet(source, stream, facts)
        else:
            text = TextFile(source.file, stream, source.encoding)
            form = format_of(text)
            if source.is_document:
                found = _document(text, facts)
            elif isinstance(form, LineFormat):
                found = _lines(source, text, form, facts)
            else:
                found = (_csv if form == "csv" else _json)(source, text, facts)
        if source.constant:
            for name in source.constant:
                facts.types.setdefault(name, STRING)
            found = (record._replace(values={**source.constant, **record.values}) for record in found)
        yield from found
        facts.sha256 = stored.sha256()


def csv_layout(text: TextFile, text_column: str) -> CsvLayout:
    """The layout with which a table has the text column, or the best one if that is not known."""
    return layout_for(text, Columns(text_column, None)) if text_column else best_layout(text)


def _csv(source: InputFile, text: TextFile, facts: Facts) -> Iterator[Record]:
    layout = csv_layout(text, source.text_column)
    names = unique(layout.names)
    facts.types |= dict.fromkeys(names, STRING)
    detector = StrayQuoteDetector(text, layout.delimiter, len(names), None)
    for cells, lines, problem in islice(table_rows(text, layout.delimiter, detector), 1 if layout.header else 0, None):
        if not problem and len(cells) != len(names):
            problem = f"expected {len(names)} fields, found {len(cells)}"
        elif is_header(cells, layout.header):
            problem = "repeats the header"
        if problem:
            yield _unreadable(source, unreadable_row("".join(lines), problem))
        else:
            yield _record(source, dict(zip(names, cells, strict=True)), text.encoding.name)


def _json(source: InputFile, text: TextFile, facts: Facts) -> Iterator[Record]:
    name = source.text_column
    has_column, facts.by_value = not name, True
    for number, value in enumerate(json_values(text)):
        if isinstance(value, Row):
            yield _unreadable(source, value)
        elif not isinstance(value, dict):
            yield _unreadable(source, unreadable_row(json.dumps(value), "not a JSON object"))
        else:
            if not number:
                require_rows(value, text.file.name)
            for column in value:
                facts.types.setdefault(column, None)
            has_column = has_column or name in value or value_at(value, name) is not None
            yield _record(source, value, text.encoding.name)
    if not has_column:
        raise HeadwayError(f"{text.file.name}: no row has the key {name!r}; name the one with the texts with --text-column")


def _lines(source: InputFile, text: TextFile, form: LineFormat, facts: Facts) -> Iterator[Record]:
    facts.types |= dict.fromkeys(form.columns, STRING)
    for found in line_records(text, form):
        if isinstance(found, Row):
            yield _unreadable(source, found)
        else:
            yield _record(source, found, text.encoding.name)


def _document(text: TextFile, facts: Facts) -> Iterator[Record]:
    facts.types["text"] = STRING
    for row in read_document(text, Columns("text", None), FileInfo(text.file.name)):
        yield Record({"text": row.text}, None if row.problem else row.text, row.problem)


def _parquet(source: InputFile, stream: BinaryIO, facts: Facts) -> Iterator[Record]:
    with opened_table(source.file, stream) as table:
        names = unique(table.schema_arrow.names)
        facts.types |= dict(zip(names, table.schema_arrow.types, strict=True))
        for batch in table.iter_batches(batch_size=ROWS):
            columns = list(map(python_values, batch.columns))
            for name, kind, column in zip(names, batch.schema.types, columns, strict=True):
                if pa.types.is_temporal(kind) and any(isinstance(value, str) for value in column):  # after the year 9999
                    facts.types[name] = STRING
            for values in zip(*columns, strict=True):
                yield _record(source, dict(zip(names, values, strict=True)), "utf-8")


def _record(source: InputFile, values: Mapping[str, Any], encoding: str) -> Record:
    if not source.text_column:
        return Record(values, None)
    row = make_row(value_at(values, source.text_column), None, encoding=encoding)
    return Record(values, None if row.problem else row.text, row.problem)


def _unreadable(source: InputFile, row: Row) -> Record:
    return Record({source.text_column: row.text} if source.text_column else {}, None, row.problem)


def unique(names: list[str]) -> list[str]:
    """Column names of which repeated ones get their position, as in ``text (2)``, or the next number that is free."""
    clean = list(map(replace_surrogates, names))
    found: list[str] = []
    for index, name in enumerate(clean):
        numbered = (f"{name} ({number})" for number in count(index + 1))
        found.append(next(new for new in numbered if new not in clean and new not in found) if name in found else name)
    return found
