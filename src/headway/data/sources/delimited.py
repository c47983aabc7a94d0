"""Parses CSV and TSV into rows of cells. Cells are kept as written, and an unreadable row is reported at its place in the file.

It uses Python's csv parser: those of Arrow and pandas lose the rows that a stray quote joins, and the numbers of bad rows.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Literal, NamedTuple

from headway.data.sources.streams import TextFile

DELIMITERS = ",;\t|"
LONGEST_CELL = 1 << 24  # characters; also the most that an unclosed quote can swallow
PARSED_AGAIN = 8  # characters that may be parsed again per character of the file: a bound on the cost of stray quotes
ROWS_LEARNT = 1_000  # rows at a file's beginning from which its labels are learnt
ROW_SHARE = 2 / 3  # of a row's lines must look like rows themselves, if a stray pair of quotes joined them
SEPARATOR_LINE = re.compile(r"sep=(.)[\r\n]*")  # which Excel writes before the header
COMMENT = "#"
MOST_COMMENTS = 100  # lines before the header
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


def possible_delimiters(text: TextFile) -> list[str]:
    """The delimiter that Excel's ``sep=`` line names, or all known ones, the most likely first."""
    named = SEPARATOR_LINE.fullmatch(text.head("").readline())
    return [named[1]] if named else sorted(DELIMITERS, key="\t".__ne__) if text.file.kind == ".tsv" else list(DELIMITERS)


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
    for _ in range(1 if SEPARATOR_LINE.fullmatch(first) else _count_comments(text, delimiter, line_end)):
        stream.readline()
    return _parsed(stream, delimiter, text.file.csv.quoting, detector)


def _count_comments(text: TextFile, delimiter: str, line_end: str) -> int:
    """Number of comment lines before the header: they begin with ``#``, and have another number of cells than the row below."""
    head = islice(text.head(line_end), MOST_COMMENTS)
    lines = list(takewhile(lambda line: line.startswith(COMMENT) or not line.strip(), head))
    if not lines or len(lines) == MOST_COMMENTS:
        return 0

    def width(lines: Iterator[str]) -> int:
        row = next(_parsed(lines, delimiter, text.file.csv.quoting, None), None)
        return len(row.cells) if row else 0

    below = width(islice(text.head(line_end), len(lines), None))
    is_header = not below or any(width(iter([line])) == below for line in lines if line.strip())
    return 0 if is_header else len(lines)


def _parsed(stream: Iterator[str], delimiter: str, quoting: str, detector: StrayQuoteDetector | None) -> Iterator[ParsedRow]:
    """Parse rows such that a stray quote costs one line: the line with the quote is unreadable, and later lines are parsed
    again.

    If that would cost too much, all lines that the quote swallowed are unreadable. With a detector, the rows that a stray
    pair of quotes joins are read one by one, and nothing is lost.
    """
    csv.field_size_limit(LONGEST_CELL)
    style: Literal[0, 3] = csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL
    escape = "\\" if quoting == "backslash" else None
    lines = _ReplayedLines(stream)
    reader = None
    while True:
        # Strict, because a lenient parser silently takes everything up to the next quote for one cell.
        reader = reader or csv.reader(lines, delimiter=delimiter, quoting=style, escapechar=escape, strict=True)
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

    def __init__(self, stream: Iterator[str]):
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
