"""CSV and TSV, row by row: every cell as it is written, and a row that cannot be read told as such at its place."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TextIO

from headway.data.sources.source import Columns, Facts, Row, as_unicode, row_of, unreadable
from headway.data.sources.streams import LocalFile
from headway.errors import HeadwayError

DELIMITERS = ",;\t|"
LONGEST_CELL = 1 << 24  # characters; a quote that is never closed swallows no more than that
READINGS = 8  # characters that may be parsed again for each of the file: stray quotes cost no more, however many
LOOK_AHEAD = 1_000  # rows from which it is known, at a file's beginning, what its labels are
SEPARATOR_LINE = re.compile(r"sep=(.)[\r\n]*")  # which Excel writes before the header
SPANS = "a quote spans rows"
LIKE_ROWS = 2 / 3  # of the lines of a row: when they are like rows of their own, so many are no text with line breaks

Parsed = tuple[list[str], list[str], str]  # cells, lines, problem

#: What Python's parser says, in strict mode, by how it begins.
PROBLEMS = {
    "unexpected end of data": "a quote is opened and never closed",
    "field larger than field limit": f"a cell of more than {LONGEST_CELL:,} characters, or a quote that is never closed",
    "new-line character": "a carriage return in a cell without quotes",
    "'": "text follows a closing quote: a quote within a cell is not doubled, or one is never closed",
}


def rows_of(file: LocalFile, columns: Columns, facts: Facts) -> Iterator[Row]:
    """All rows of a CSV or TSV file in any delimiter; lines with nothing on them are none.

    Raises:
        HeadwayError: the file is empty, or its header lacks a column.
    """
    facts.delimiter, facts.columns = _header(file, columns, facts.encoding)
    text = facts.columns.index(columns.text)
    label = facts.columns.index(columns.label) if columns.label is not None else None
    more = [facts.columns.index(name) for name in columns.more]
    width = len(facts.columns)
    rows = table_rows(file, facts.encoding, facts.delimiter, Lone(file, facts, width, label))
    next(rows)
    for cells, lines, problem in rows:
        if not problem and len(cells) != width:
            problem = f"{len(cells)} field{'s' * (len(cells) != 1)} where {width} are expected"
        row = (
            unreadable("".join(lines), problem)
            if problem
            else row_of(cells[text], None if label is None else cells[label], [cells[at] for at in more], facts.encoding)
        )
        if label is not None:
            facts.loose_end = None if lines[-1].endswith(("\n", "\r")) else (row.label or "")
        yield row


def _header(file: LocalFile, columns: Columns, encoding: str) -> tuple[str, list[str]]:
    """The delimiter under which the first row names the columns, and all names."""
    readings: dict[str, list[str]] = {}
    for delimiter in delimiters_of(file, encoding):
        first = next(table_rows(file, encoding, delimiter), None)
        if first is None:
            raise HeadwayError(f"{file.name}: empty; expected rows with a text and a label")
        readings[delimiter] = names_of(first[0])
    wanted = {columns.text, columns.label}
    delimiter, names = max(readings.items(), key=lambda reading: (len(wanted.intersection(reading[1])), len(reading[1])))
    columns.require(names, file.name)
    return delimiter, names


def delimiters_of(file: LocalFile, encoding: str) -> list[str]:
    """What may stand between a file's cells, which its first line may tell; where several would do, the first."""
    with file.open_text(encoding, newline="") as stream:
        told = SEPARATOR_LINE.fullmatch(stream.readline())
    if told:
        return [told[1]]
    return sorted(DELIMITERS, key="\t".__ne__) if file.kind == ".tsv" else list(DELIMITERS)


def names_of(header: list[str]) -> list[str]:
    """The columns that the cells of a header name."""
    return [as_unicode(cell.strip()) for cell in header]


class Lone:
    """What a line says when it is read on its own, its quotes being letters: whether it is like a row of the table.

    It is when it has as many cells, of which one is a label that other rows have; a text with line breaks may hold
    delimiters, too, but hardly ever before such a word. Where there are no labels, only tabs tell.
    """

    def __init__(self, file: LocalFile, facts: Facts, width: int, label: int | None):
        self._delimiter, self._width, self._label = facts.delimiter, width, label
        self._labels: set[str] = set()
        if label is not None:
            for cells, _, _ in islice(table_rows(file, facts.encoding, facts.delimiter), 1, LOOK_AHEAD):
                self.learn(cells)

    def cells(self, line: str) -> list[str]:
        """What stands between a line's delimiters."""
        return line.rstrip("\r\n").split(self._delimiter)

    def learn(self, cells: Sequence[str]) -> None:
        """Take the label of a row for known: be it one or several that a quote joins, it is the label of one.

        Not one with quotes in it: in a line that is read on its own, these may be what encloses the cells.
        """
        label = self._label_of(cells)
        if label and '"' not in label:
            self._labels.add(label)

    def is_like_a_row(self, line: str) -> bool:
        cells = self.cells(line)
        if self._label is None:
            return self._delimiter == "\t" and self._width == len(cells) > 1
        return self._label_of(cells) in self._labels

    def _label_of(self, cells: Sequence[str]) -> str:
        """The label of a row that has as many cells as the table; "" where it has none."""
        return cells[self._label].strip() if self._label is not None and len(cells) == self._width else ""


def table_rows(file: LocalFile, encoding: str, delimiter: str, lone: Lone | None = None) -> Iterator[Parsed]:
    """The rows of a file under a delimiter, the header first; see :func:`parsed`."""
    with file.open_text(encoding, newline="") as stream:
        # A carriage return alone is the end of a line only where the first line has it.
        first = stream.readline()
        line_end = "\r" if first.endswith("\r") else "\n"
    with file.open_text(encoding, line_end) as stream:
        if SEPARATOR_LINE.fullmatch(first):
            stream.readline()
        yield from parsed(stream, delimiter, file.quoting, lone)


def parsed(stream: TextIO, delimiter: str, quoting: str = "auto", lone: Lone | None = None) -> Iterator[Parsed]:
    """Rows of a CSV, the header first: their cells, the lines they stand on, the problem.

    What is wrong with a row is "" when nothing is; else there are no cells. A quote that leads astray costs the line on
    which its row begins, and what it swallowed is parsed anew; where that happens too often, it costs all these lines.
    Where a line that begins a text with line breaks is like a row of its own, its quote is a letter, and costs nothing.

    Args:
        stream: the file.
        delimiter: between its cells.
        quoting: ``none`` where quotes are letters, else ``auto``.
        lone: tells lines that are like rows; without it, whatever a pair of quotes encloses is one cell.
    """
    csv.field_size_limit(LONGEST_CELL)
    lines = _Lines(stream)

    def reading() -> Iterator[list[str]]:
        # Strict: a parser that forgives would take everything up to the next quote for one text, and not tell.
        if quoting == "none":
            return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
        return csv.reader(lines, delimiter=delimiter, strict=True)

    reader = reading()
    while True:
        lines.of_row = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = next((said for start, said in PROBLEMS.items() if str(error).startswith(start)), str(error))
            reader = reading()
            for line in lines.lost():
                yield [], [line], problem
            continue
        if lone and len(lines.of_row) > 1 and _spans_rows(lines.of_row, lone):
            reader = reading()
            for line in lines.lost():
                yield (lone.cells(line), [line], "") if lone.is_like_a_row(line) else ([], [line], SPANS)
        elif cells:
            if lone:
                lone.learn(cells)
            yield cells, lines.of_row, ""


def _spans_rows(lines: Sequence[str], lone: Lone) -> bool:
    """Whether what was read as one row is several that a pair of stray quotes joins: most lines are like rows themselves."""
    return sum(map(lone.is_like_a_row, lines)) >= max(2, LIKE_ROWS * len(lines))


class _Lines:
    """The lines of a stream, some of which come again.

    Attributes:
        of_row: those that were taken for the row at hand.
    """

    def __init__(self, stream: TextIO):
        self.of_row: list[str] = []
        self._stream = stream
        self._again: deque[str] = deque()
        self._length = 0  # characters of the row at hand
        self._credit = 0  # characters that may still come again

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._again:
            line = self._again.popleft()
        else:
            line = next(self._stream)
            self._credit += READINGS * len(line)
        self._length = len(line) + (self._length if self.of_row else 0)
        self.of_row.append(line)
        if self._length > LONGEST_CELL and len(self.of_row) > 1:
            raise csv.Error("field larger than field limit")
        return line

    def lost(self) -> list[str]:
        """Of the row at hand, the lines that cannot be read: the first, as the others come again, or else all."""
        first, *others = self.of_row
        length = sum(map(len, others))
        if length > self._credit:
            return [line for line in self.of_row if line.strip("\r\n")]
        self._credit -= length
        self._again.extendleft(reversed(others))
        return [first]
