"""Reads CSV and TSV. Cells are kept as written, and an unreadable row is reported at its place in the file.

It uses Python's csv parser: those of Arrow and pandas lose the rows that a stray quote joins, and the numbers of bad rows.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TextIO

from headway.data.sources.rows import Row, make_row, replace_surrogates, unreadable_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import TextFile
from headway.errors import HeadwayError

DELIMITERS = ",;\t|"
LONGEST_CELL = 1 << 24  # characters; also the most that an unclosed quote can swallow
PARSED_AGAIN = 8  # characters that may be parsed again per character of the file: a bound on the cost of stray quotes
ROWS_LEARNT = 1_000  # rows at a file's beginning from which its labels are learnt
ROW_SHARE = 2 / 3  # of a row's lines must look like rows themselves, if a stray pair of quotes joined them
SEPARATOR_LINE = re.compile(r"sep=(.)[\r\n]*")  # which Excel writes before the header
SPANS_ROWS = "a quote spans rows"
#: Plainer messages than those of Python's parser, by how the parser's messages begin.
PROBLEMS = {
    "unexpected end of data": "a quote is opened and never closed",
    "field larger than field limit": f"a cell of more than {LONGEST_CELL:,} characters, or a quote that is never closed",
    "new-line character": "a carriage return in a cell without quotes",
    "'": "text follows a closing quote: a quote within a cell is not doubled, or one is never closed",
}


class ParsedRow(NamedTuple):
    """A row's cells, the lines they are on, and why they cannot be read ("" if they can; else there are no cells)."""

    cells: list[str]
    lines: list[str]
    problem: str = ""


def read_csv(text: TextFile, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """All rows of a CSV or TSV file, without blank lines; HeadwayError if it is empty or its header lacks a column."""
    info.delimiter, info.columns = _header(text, columns)
    width = len(info.columns)
    at = {name: info.columns.index(name) for name in columns.wanted}
    label = at.get(columns.label or "")
    detector = StrayQuoteDetector(text, info.delimiter, width, label)
    for cells, lines, problem in islice(table_rows(text, info.delimiter, detector), 1, None):
        if not problem and len(cells) != width:
            problem = f"expected {width} fields, found {len(cells)}"
        if problem:
            row = unreadable_row("".join(lines), problem)
        else:
            extra = [cells[at[name]] for name in columns.extra]
            row = make_row(cells[at[columns.text]], None if label is None else cells[label], extra, text.encoding.name)
        if label is not None:
            info.unterminated_label = None if lines[-1].endswith(("\n", "\r")) else (row.label or "")
        yield row


def _header(text: TextFile, columns: Columns) -> tuple[str, list[str]]:
    """The delimiter with which the first row has the most of the wanted columns, and the names of all columns."""
    headers = {}
    for delimiter in possible_delimiters(text):
        first = next(table_rows(text, delimiter, head_only=True), None)
        if first is None:
            raise HeadwayError(f"{text.file.name}: empty; expected rows with a text and a label")
        headers[delimiter] = column_names(first.cells)
    wanted = set(columns.wanted)
    delimiter, names = max(headers.items(), key=lambda header: (len(wanted.intersection(header[1])), len(header[1])))
    columns.require(names, text.file.name)
    return delimiter, names


def possible_delimiters(text: TextFile) -> list[str]:
    """The delimiter that Excel's ``sep=`` line names, or all known ones, the most likely first."""
    named = SEPARATOR_LINE.fullmatch(text.head("").readline())
    return [named[1]] if named else sorted(DELIMITERS, key="\t".__ne__) if text.file.kind == ".tsv" else list(DELIMITERS)


def column_names(header: Sequence[str]) -> list[str]:
    """The columns that a header's cells name."""
    return [replace_surrogates(cell.strip()) for cell in header]


class StrayQuoteDetector:
    """Recognises lines that are rows of their own although a pair of stray quotes joins them into one cell.

    Such a line, read with its quotes as ordinary characters, has as many cells as the table, and a label that other rows
    have. A text with line breaks may contain delimiters too, but rarely with a known label in the right column. If the file
    has no labels, rows are recognised by their number of tabs alone.
    """

    def __init__(self, text: TextFile, delimiter: str, width: int, label: int | None):
        self._delimiter, self._width, self._label = delimiter, width, label
        self._labels: set[str] = set()
        if label is not None:
            for row in islice(table_rows(text, delimiter, head_only=True), 1, ROWS_LEARNT):
                self.learn(row.cells)

    def learn(self, cells: Sequence[str]) -> None:
        """Remember a row's label, unless it has quotes, which may enclose it."""
        label = self._label_of(cells)
        if label and '"' not in label:
            self._labels.add(label)

    def joins_rows(self, lines: Sequence[str]) -> bool:
        """Whether the lines of one parsed row are several rows: most of them look like rows themselves."""
        return len(lines) > 1 and sum(map(self._is_row, lines)) >= max(2, ROW_SHARE * len(lines))

    def parse(self, line: str) -> ParsedRow:
        """One line of several that were joined, read on its own with its quotes as ordinary characters."""
        return ParsedRow(self._cells(line), [line]) if self._is_row(line) else ParsedRow([], [line], SPANS_ROWS)

    def _is_row(self, line: str) -> bool:
        cells = self._cells(line)
        if self._label is None:
            return self._delimiter == "\t" and self._width == len(cells) > 1
        return self._label_of(cells) in self._labels

    def _cells(self, line: str) -> list[str]:
        return line.rstrip("\r\n").split(self._delimiter)

    def _label_of(self, cells: Sequence[str]) -> str:
        """The label of a row as wide as the table, or ""."""
        return cells[self._label].strip() if self._label is not None and len(cells) == self._width else ""


def table_rows(
    text: TextFile, delimiter: str, detector: StrayQuoteDetector | None = None, head_only: bool = False
) -> Iterator[ParsedRow]:
    """The rows of a file with this delimiter, the header first: all rows, or with ``head_only`` those in the file's head."""
    first = text.head("").readline()
    line_end = "\r" if first.endswith("\r") else "\n"  # a lone carriage return ends a line only if it ends the first one
    stream = (text.head if head_only else text.whole)(line_end)
    if SEPARATOR_LINE.fullmatch(first):
        stream.readline()
    return _parsed(stream, delimiter, text.file.quoting, detector)


def _parsed(stream: TextIO, delimiter: str, quoting: str, detector: StrayQuoteDetector | None) -> Iterator[ParsedRow]:
    """Parse rows such that a stray quote costs one line: the line with the quote is unreadable, and later lines are parsed
    again.

    If that would cost too much, all lines that the quote swallowed are unreadable. With a detector, the rows that a stray
    pair of quotes joins are read one by one, and nothing is lost.
    """
    csv.field_size_limit(LONGEST_CELL)
    style: Literal[0, 3] = csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL
    lines = _ReplayedLines(stream)
    reader = None
    while True:
        # Strict, because a lenient parser silently takes everything up to the next quote for one cell.
        reader = reader or csv.reader(lines, delimiter=delimiter, quoting=style, strict=True)
        lines.of_row = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reader = None
            problem = next((words for start, words in PROBLEMS.items() if str(error).startswith(start)), str(error))
            yield from (ParsedRow([], [line], problem) for line in lines.give_back())
            continue
        if detector and detector.joins_rows(lines.of_row):
            reader = None
            yield from map(detector.parse, lines.give_back())
        elif cells:
            if detector:
                detector.learn(cells)
            yield ParsedRow(cells, lines.of_row)


class _ReplayedLines:
    """The lines of a stream, which can be given back to be parsed again."""

    def __init__(self, stream: TextIO):
        self.of_row: list[str] = []  # the lines of the current row
        self._stream = stream
        self._again: deque[str] = deque()
        self._length = 0  # characters of the current row
        self._credit = 0  # characters that may still be parsed again

    def __iter__(self) -> _ReplayedLines:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = next(self._stream)
            self._credit += PARSED_AGAIN * len(line)
        self._length = len(line) + (self._length if self.of_row else 0)
        self.of_row.append(line)
        if self._length > LONGEST_CELL and len(self.of_row) > 1:
            raise csv.Error("field larger than field limit")
        return line

    def give_back(self) -> list[str]:
        """Give back all lines of the current row but the first, which is returned; or return all, if the credit is used up."""
        first, *others = self.of_row
        length = sum(map(len, others))
        if length > self._credit:
            return [line for line in self.of_row if line.strip("\r\n")]
        self._credit -= length
        self._again.extendleft(reversed(others))
        return [first]
