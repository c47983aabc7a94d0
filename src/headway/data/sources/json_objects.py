"""JSON, one object per line or one array of objects. A line that is not an object is an unreadable row.

Arrow's reader refuses a file with one bad line, or with labels that are sometimes strings and sometimes numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, TextIO

from headway.data.sources.nested import value_at
from headway.data.sources.rows import Row, make_row, replace_surrogates, unreadable_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import TextFile
from headway.errors import HeadwayError

BLOCK = 1 << 20  # characters
EXPECTED = "expected one object per line, or an array of objects"
INDENTED_OBJECT = re.compile(r'\s*\{\s*\n\s*(?:"([^"\\]*)")?')
ARRAY = re.compile(r"\s*\[\s*\{")  # of objects
SEPARATORS = re.compile(r"[\s,]*")


def read_json(text: TextFile, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """All rows of a JSON file. A missing key is a missing value; blank lines are not rows.

    Raises:
        HeadwayError: the file holds no object or begins with one over several lines, or no object has one of the columns.
        ValueError: an array is damaged or incomplete.
    """
    names: dict[str, None] = {}
    nested = ""  # a key that holds an array: maybe the rows are in there
    for value in json_values(text):
        if isinstance(value, Row):
            yield value
        elif isinstance(value, dict):
            names |= dict.fromkeys(value)
            found = {name: value_at(value, name) for name in columns.wanted}
            names |= dict.fromkeys(name for name in found if found[name] is not None)
            if columns.text not in value:
                nested = next((key for key in value if isinstance(value[key], list) and value[key]), nested)
                require_rows(value, text.file.name)
            label = None if columns.label is None else found[columns.label]
            yield make_row(found[columns.text], label, [found[name] for name in columns.extra], text.encoding.name)
        else:
            yield unreadable_row(json.dumps(value), "not a JSON object")
    info.columns = list(dict.fromkeys(map(replace_surrogates, names)))
    if not names:
        raise HeadwayError(f"{text.file.name}: holds no JSON object; {EXPECTED}")
    if nested and columns.text not in names:
        raise HeadwayError(
            f"{text.file.name}: holds an object with an array under {replace_surrogates(nested)!r}; {EXPECTED}"
        )
    columns.require(info.columns, text.file.name)


def json_values(text: TextFile) -> Iterator[Any]:
    """All values of a JSON file, and an unreadable ``Row`` for each line that is not valid; errors as above."""
    stream = text.whole("\n")
    start = stream.read(BLOCK)
    if not start.strip():
        raise HeadwayError(f"{text.file.name}: empty; expected rows with a text and a label")
    if indented := INDENTED_OBJECT.match(start):
        key = f" with the first key {replace_surrogates(indented[1])!r}" if indented[1] is not None else ""
        raise HeadwayError(f"{text.file.name}: holds an object over several lines{key}; {EXPECTED}")
    is_array = bool(ARRAY.match(start)) or (text.file.kind == ".json" and start.lstrip().startswith("["))
    yield from (_array_values if is_array else _line_values)(stream, start)


def require_rows(value: Mapping[str, Any], where: str) -> None:
    """Check that an object is a row, and not a whole table by column, as pandas writes it by default."""
    columns = [column for column in value.values() if isinstance(column, dict)]
    if not len(columns) == len(value) > 1:
        return
    rows = columns[0].keys()
    if len(rows) > 1 and all(row.isdigit() for row in rows) and all(column.keys() == rows for column in columns):
        raise HeadwayError(
            f"{where}: holds one object per column, as DataFrame.to_json() writes by default; {EXPECTED}: "
            "write it with to_json(path, orient='records', lines=True)"
        )


def _line_values(stream: TextIO, start: str) -> Iterator[Any]:
    """The value of every line; ``start`` was read from the stream already."""
    for line in chain((start + stream.readline()).split("\n"), stream):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                yield unreadable_row(line, f"not valid JSON: {error}")


def _array_values(stream: TextIO, start: str) -> Iterator[Any]:
    """The elements of an array, with one element in memory at a time; ``start`` was read already."""
    decoder = json.JSONDecoder()
    buffer, position, problem = start.lstrip(), 1, "the array is not closed"
    while True:
        position = SEPARATORS.match(buffer, position).end()  # type: ignore[union-attr]  # it also matches nothing
        if buffer[position : position + 1] == "]":
            if (buffer[position + 1 :] + stream.read(BLOCK)).strip():
                raise ValueError("there is more text after the end of the array")
            return
        try:
            value, end = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            end, problem = len(buffer), str(error)
        if end < len(buffer):  # at the very end, a number might go on
            yield value
            position = end
        elif more := stream.read(max(BLOCK, len(buffer))):  # doubled, so that a long element is not parsed too often
            buffer, position = buffer[position:] + more, 0
        else:
            raise ValueError(problem)
