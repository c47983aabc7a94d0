"""JSON, one object a line or one array of them: a bad line is a row with a problem, a bad array cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from headway.data.sources.source import Columns, Facts, Row, as_unicode, row_of, unreadable
from headway.data.sources.streams import LocalFile
from headway.errors import HeadwayError

BLOCK = 1 << 20
EXPECTED = "expected one object a line, or an array of them"
OVER_LINES = re.compile(r"\{\s*\n")  # how an object begins that is indented
FIRST_KEY = re.compile(r'\{\s*"([^"\\]*)"')
BETWEEN = re.compile(r"[\s,]*")


def rows_of(file: LocalFile, columns: Columns, facts: Facts) -> Iterator[Row]:
    """All rows of a JSON file; a key that a row lacks is a gap, and blank lines are no rows.

    Raises:
        HeadwayError: the file holds no object, or no object has a column.
        ValueError: an array is damaged or ends early.
    """
    names: dict[str, None] = {}
    nested = ""  # key of an array of objects
    for value in values_of(file, facts.encoding):
        if isinstance(value, Row):
            yield value
        elif isinstance(value, dict):
            names |= dict.fromkeys(value)
            if columns.text not in value:
                nested = next((key for key in value if isinstance(value[key], list) and value[key]), nested)
            label = None if columns.label is None else value.get(columns.label)
            yield row_of(value.get(columns.text), label, [value.get(name) for name in columns.more], facts.encoding)
        else:
            yield unreadable(json.dumps(value), "no JSON object")
    facts.columns = [as_unicode(name) for name in names]
    if not names:
        raise HeadwayError(f"{file.name}: holds no JSON object; {EXPECTED}")
    if nested and columns.text not in names:
        raise HeadwayError(f"{file.name}: holds an object with an array under {as_unicode(nested)!r}; {EXPECTED}")
    columns.require(facts.columns, file.name)


def values_of(file: LocalFile, encoding: str) -> Iterator[Any]:
    """All values of a JSON file as Python's, and a ``Row`` with a problem for each line that is none.

    Raises:
        HeadwayError: the file is empty, or begins with an object over several lines.
        ValueError: an array is damaged or ends early.
    """
    with file.open_text(encoding, newline="\n") as stream:
        start = stream.read(BLOCK)
        if not start.strip():
            raise HeadwayError(f"{file.name}: empty; expected rows with a text and a label")
        if OVER_LINES.match(start.lstrip()):
            key = FIRST_KEY.match(start.lstrip())
            found = f"an object over several lines{f', its first key {as_unicode(key[1])!r}' if key else ''}"
            raise HeadwayError(f"{file.name}: holds {found}; {EXPECTED}")
        array = file.kind == ".json" and start.lstrip().startswith("[")
        yield from _elements(stream, start) if array else _lines(stream, start)


def _lines(stream: TextIO, start: str) -> Iterator[Any]:
    """The value on every line; a row with a problem where there is none. ``start`` was read from the stream already."""
    *first, last = start.split("\n")
    first.append(last + stream.readline())
    for lines in (first, stream):
        for line in lines:
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield unreadable(line, f"not valid JSON: {error}")


def _elements(stream: TextIO, start: str) -> Iterator[Any]:
    """The elements of an array, of which no more is held than one of them needs. ``start`` was read already."""
    decoder = json.JSONDecoder()
    buffer, position, problem = start.lstrip(), 1, "its array is not closed"
    while True:
        position = BETWEEN.match(buffer, position).end()  # type: ignore[union-attr]  # it matches nothing, too
        if buffer[position : position + 1] == "]":
            if (buffer[position + 1 :] + stream.read(BLOCK)).strip():
                raise ValueError("more follows after the end of its array")
            return
        try:
            value, end = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            end, problem = len(buffer), str(error)
        if end < len(buffer):  # at the very end, a number might go on
            yield value
            position = end
        elif more := stream.read(max(BLOCK, len(buffer))):  # doubled, or a long element would be parsed too often
            buffer, position = buffer[position:] + more, 0
        else:
            raise ValueError(problem)
