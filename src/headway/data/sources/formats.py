"""The format of a text file: by the ending of its name, or for ``.txt`` and unknown endings by its content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from headway.data.sources.csv_table import read_csv
from headway.data.sources.delimited import LONGEST_CELL
from headway.data.sources.json_objects import ARRAY, read_json
from headway.data.sources.labelled_lines import LineFormat, line_format, read_lines
from headway.data.sources.rows import Row, make_row, unreadable_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import TextFile

LINES = 20  # that must be JSON objects in a file of JSON lines
DOCUMENT_COLUMNS = ["text"]


def format_of(text: TextFile) -> LineFormat | str:
    """``csv`` or ``json``, or the format of labelled lines."""
    match text.file.kind:
        case ".csv" | ".tsv":
            return "csv"
        case ".json" | ".jsonl":
            return "json"
    return "json" if _is_json(text) else (line_format(text) or "csv")


def read_text(text: TextFile, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """All rows of a text file of any format; HeadwayError as its reader raises it."""
    form = format_of(text)
    if isinstance(form, LineFormat):
        return read_lines(text, form, columns, info)
    return (read_csv if form == "csv" else read_json)(text, columns, info)


def read_document(text: TextFile, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """The whole file as one text, in the column ``text``; one of more than ``LONGEST_CELL`` characters cannot be read."""
    info.columns = list(DOCUMENT_COLUMNS)
    columns.require(info.columns, text.file.name)
    content = text.beginning(LONGEST_CELL + 1)
    if len(content) > LONGEST_CELL:
        yield unreadable_row(content, f"a text of more than {LONGEST_CELL:,} characters")
    else:
        yield make_row(content, None, encoding=text.encoding.name)


def _is_json(text: TextFile) -> bool:
    lines = [line for line in islice(text.head("\n"), LINES) if line.strip()]
    if lines and ARRAY.match("".join(lines[:3])):
        return True
    try:
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except (ValueError, RecursionError):
        return False
