"""A CSV or TSV file as a table: its delimiter, the names of its columns, and its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from headway.data.sources.delimited import StrayQuoteDetector, possible_delimiters, table_rows
from headway.data.sources.rows import Row, make_row, replace_surrogates, unreadable_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import TextFile
from headway.errors import HeadwayError

ROWS_PER_DELIMITER = 200  # from which the delimiter is chosen


class CsvLayout(NamedTuple):
    """The delimiter of a table, the names of its columns, and the cells of its header ([] if it has none)."""

    delimiter: str
    names: list[str]
    header: list[str]


def read_csv(text: TextFile, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """All rows of a CSV or TSV file, without blank lines; HeadwayError if it is empty or lacks a column."""
    info.delimiter, info.columns, header = layout_for(text, columns)
    width = len(info.columns)
    at = {name: info.columns.index(name) for name in columns.wanted}
    label = at.get(columns.label or "")
    detector = StrayQuoteDetector(text, info.delimiter, width, label)
    for cells, lines, problem in islice(table_rows(text, info.delimiter, detector), 1 if header else 0, None):
        if not problem and len(cells) != width:
            problem = f"expected {width} fields, found {len(cells)}"
        elif is_header(cells, header):
            problem = "repeats the header"
        if problem:
            row = unreadable_row("".join(lines), problem)
        else:
            extra = [cells[at[name]] for name in columns.extra]
            row = make_row(cells[at[columns.text]], None if label is None else cells[label], extra, text.encoding.name)
        if label is not None:
            info.unterminated_label = None if lines[-1].endswith(("\n", "\r")) else (row.label or "")
        yield row


def layout_for(text: TextFile, columns: Columns) -> CsvLayout:
    """The layout with which the table has the most of the wanted columns; HeadwayError if it lacks one."""
    layouts = [_layout(text, delimiter) for delimiter in possible_delimiters(text)]
    wanted = set(columns.wanted)
    if text.file.csv.columns or not text.file.csv.header:
        layout = max(layouts, key=lambda layout: _fitting_rows(text, layout))
    else:
        layout = max(layouts, key=lambda layout: (len(wanted.intersection(layout.names)), len(layout.names)))
    columns.require(layout.names, text.file.name)
    return layout


def best_layout(text: TextFile) -> CsvLayout:
    """The layout with which the most rows have as many cells as the table has columns."""
    return max((_layout(text, name) for name in possible_delimiters(text)), key=lambda layout: _fitting_rows(text, layout))


def widths(text: TextFile, layout: CsvLayout) -> Counter[int]:
    """How many of the first rows below the header have how many cells; unreadable rows count under 0."""
    rows = islice(table_rows(text, layout.delimiter, head_only=True), 1 if layout.header else 0, ROWS_PER_DELIMITER)
    return Counter(len(row.cells) for row in rows)


def is_header(cells: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a row is the header again, as in files that were joined."""
    return len(cells) > 1 and [cell.strip() for cell in cells] == [cell.strip() for cell in header]


def _layout(text: TextFile, delimiter: str) -> CsvLayout:
    """The layout with a delimiter, by the first row and by what params say; HeadwayError if there is no row."""
    style = text.file.csv
    first = next(table_rows(text, delimiter, head_only=True), None)
    if first is None:
        raise HeadwayError(f"{text.file.name}: empty; expected rows with a text and a label")
    header = first.cells if style.header else []
    names = list(style.columns) or [replace_surrogates(cell.strip()) for cell in header]
    if not names:
        names = [f"column_{number}" for number in range(1, len(first.cells) + 1)]
    return CsvLayout(delimiter, names, header)


def _fitting_rows(text: TextFile, layout: CsvLayout) -> tuple[int, int]:
    """The number of the first rows that are as wide as the table, 0 for a table of one column; and the number of columns."""
    width = len(layout.names)
    fitting = widths(text, layout)[width] + (len(layout.header) == width)
    return fitting if width > 1 else 0, width
