"""A sample of the rows of files with all of their columns, and how their CSV is best read."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from headway.data.sources.csv_table import CsvLayout, best_layout, is_header, widths
from headway.data.sources.delimited import LONGEST_CELL, possible_delimiters, table_rows
from headway.data.sources.files import SampledFile
from headway.data.sources.formats import format_of
from headway.data.sources.json_objects import EXPECTED, json_values, require_rows
from headway.data.sources.labelled_lines import LineFormat, line_records
from headway.data.sources.nested import flat
from headway.data.sources.parquet import sample_parquet
from headway.data.sources.rows import Row, cell_text
from headway.data.sources.streams import LocalFile, TextFile
from headway.errors import HeadwayError
from headway.phrases import counted, listed

Record = Mapping[str, Any]
#: Columns in the file's order, each with its values in the sampled rows, "" for a missing value.
Sample = dict[str, list[str]]
SAMPLE = 2_000  # rows
FILES = 8  # sampled at most; of documents, as many as rows
MOST_ROWS = 0.9  # share of the rows of a table that are equally wide
BAD_SHARE = 0.05  # of rows that cannot be read, from which quotes may be ordinary characters


def sample_files(files: Sequence[SampledFile], encoding: str, are_documents: bool = False) -> Sample:
    """Rows from all over some files; HeadwayError if one is empty or cannot be read."""
    most = -(-SAMPLE // len(files))
    rows = list(
        chain.from_iterable(
            ({**row, **constant} for row in _sample(file, encoding, most, are_documents)) for file, constant in files
        )
    )
    if not rows:
        raise HeadwayError(f"{files[0].file.name}: holds no rows; expected rows with a text and a label")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [cell_text(row.get(name)) or "" for row in rows] for name in names}


def sample_rows(file: LocalFile, encoding: str) -> Sample:
    """Rows from all over a file, because many files are sorted by label; HeadwayError if it is empty or cannot be read."""
    return sample_files([SampledFile(file, {})], encoding)


def header_of(file: LocalFile, encoding: str) -> list[str]:
    """The names in the header of a CSV file; empty if the file has no header, or is of another kind."""
    if not file.csv.header or not is_csv(file, encoding):
        return []
    with file.opened() as (_, stream):
        return best_layout(TextFile(file, stream, encoding)).names


def is_csv(file: LocalFile, encoding: str) -> bool:
    """Whether a file is a CSV or TSV file, by its name or its content."""
    if file.kind == ".parquet":
        return False
    with file.opened() as (_, stream):
        return format_of(TextFile(file, stream, encoding)) == "csv"


def best_quoting(file: LocalFile, encoding: str) -> str:
    """The value of ``data.quoting`` with which the fewest rows of a CSV cannot be read; ``auto`` for other files."""
    if not is_csv(file, encoding):
        return "auto"
    with file.opened() as (_, stream):
        text = TextFile(file, stream, encoding)
        bad, rows = _unreadable(text, "auto")
        if not bad:
            return "auto"
        if any('\\"' in line for line in islice(text.head("\n"), SAMPLE)) and 2 * _unreadable(text, "backslash")[0] <= bad:
            return "backslash"
        return "none" if bad > BAD_SHARE * rows and 5 * _unreadable(text, "none")[0] <= bad else "auto"


def _unreadable(text: TextFile, quoting: str) -> tuple[int, int]:
    """How many of the first rows cannot be read or have another width than the header, and the number of all of them."""
    styled = copy.copy(text)
    styled.file = replace(text.file, csv=replace(text.file.csv, quoting=quoting))
    layout = best_layout(styled)
    rows = list(islice(table_rows(styled, layout.delimiter, head_only=True), SAMPLE))
    return sum(bool(row.problem) or len(row.cells) != len(layout.names) for row in rows), len(rows)


def _sample(file: LocalFile, encoding: str, most: int, is_document: bool) -> list[Record]:
    with file.opened() as (_, stream):
        if file.kind == ".parquet":
            return _reservoir(map(flat, sample_parquet(file, stream, most)), most)
        text = TextFile(file, stream, encoding)
        if is_document:
            return [{"text": text.beginning(LONGEST_CELL)}]
        match format_of(text):
            case LineFormat() as form:
                return _reservoir((record for record in line_records(text, form) if not isinstance(record, Row)), most)
            case "csv":
                layout = best_layout(text)
                rows = [] if _is_title(text, layout) else _reservoir(_csv_records(text, layout), most)
                return rows or _explain_no_rows(text, layout)
        # Other content of a JSON file is reported when the file is ingested.
        rows = _reservoir((value for value in json_values(text) if isinstance(value, dict)), most)
        if not rows:
            raise HeadwayError(f"{file.name}: holds no JSON object; {EXPECTED}")
        require_rows(rows[0], file.name)
        return list(map(flat, rows))


def _reservoir(rows: Iterable[Record], most: int) -> list[Record]:
    """At most ``most`` of the rows, each with the same chance, and the same ones every time (reservoir sampling)."""
    kept: list[Record] = []
    draw = random.Random(0)
    for number, row in enumerate(rows):
        if number < most:
            kept.append(row)
        elif (place := draw.randrange(number + 1)) < most:
            kept[place] = row
    return kept


def _csv_records(text: TextFile, layout: CsvLayout) -> Iterator[Record]:
    """The rows of a CSV that are as wide as its header."""
    names = [
        name if name not in layout.names[:index] else f"{name} ({index + 1})" for index, name in enumerate(layout.names)
    ]
    for cells, _, problem in islice(table_rows(text, layout.delimiter), 1 if layout.header else 0, None):
        if not problem and len(cells) == len(names) and not is_header(cells, layout.header):
            yield dict(zip(names, cells, strict=True))


def _is_title(text: TextFile, layout: CsvLayout) -> bool:
    """Whether the first line is not the header but something before it: it has one cell, and the other rows have several."""
    if len(layout.names) > 1 or not layout.header:
        return False
    found = (widths(text, layout._replace(delimiter=delimiter)) for delimiter in possible_delimiters(text))
    return any(count > MOST_ROWS * cells.total() for cells in found for width, count in cells.items() if width > 1)


def _explain_no_rows(text: TextFile, layout: CsvLayout) -> list[Record]:
    """HeadwayError that says why no row of a CSV can be read."""
    where, width = text.file.name, len(layout.names)
    tables = [layout, *(layout._replace(delimiter=delimiter) for delimiter in possible_delimiters(text))]
    rows, cells, delimiter = max(
        (count, cells, table.delimiter) for table in tables for cells, count in widths(text, table).items() or [(0, 0)]
    )
    if not rows:
        raise HeadwayError(f"{where}: holds a header and no rows; expected rows with a text and a label")
    if not cells:
        problem = next(row.problem for row in table_rows(text, layout.delimiter, head_only=True) if row.problem)
        raise HeadwayError(
            f"{where}: no row can be read: {problem}; set data.quoting to backslash or none, or write it again"
        )
    found = f"{counted(rows, 'row')} {'has' if rows == 1 else 'have'} {counted(cells, 'cell')}"
    names = listed(layout.names, 3)
    expected = (
        f"and --columns names {width} ({names})" if text.file.csv.columns else f"where the header has {width} ({names})"
    )
    header = next(table_rows(text, delimiter, head_only=True)).cells if layout.header and text.file.csv.columns else []
    if len(header) == cells > width:
        advice = f"leave out --columns, or name all: {','.join(header)}"
    elif layout.header and width < 2 < cells + 1:
        advice = "remove the lines before the header"
    elif cells < width:
        advice = "name as many columns as there are, with --columns"
    else:
        every = [*layout.names, *(f"column_{number}" for number in range(width + 1, cells + 1))][:cells]
        every = every if len(set(every)) == cells else [f"column_{number}" for number in range(1, cells + 1)]
        advice = (
            f"name all columns in order, for example --columns {','.join(every)}, and add --no-header if there is no header"
        )
    raise HeadwayError(f"{where}: {found} {expected}; {advice}")
