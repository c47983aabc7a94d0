"""Text files with a label at the start of each line: fastText's ``__label__x text`` and TREC's ``LABEL:detail text``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from headway.data.sources.rows import Row, make_row, unreadable_row
from headway.data.sources.source import Columns, FileInfo
from headway.data.sources.streams import TextFile

LINES = 1_000  # from which the format is recognised
SHARE = 0.95  # of these lines must have the format
REPEATS = 0.34  # different labels per line, at most
PREFIX = "__label__"
FASTTEXT = re.compile(r"\s*(?P<labels>(?:__label__\S+\s+)+)(?P<text>.*)", re.DOTALL)
TREC = re.compile(r"\s*(?P<label>[^\W\d][\w-]{0,40}):(?P<detail>[\w-]{1,40})\s+(?P<text>.*)", re.DOTALL)
COLON = re.compile(r"\s*(?P<label>[^\W\d][\w-]{0,40})\s*:\s*(?P<text>.*)", re.DOTALL)


@dataclass(frozen=True)
class LineFormat:
    """A format of labelled lines: the pattern of a line, and its columns."""

    name: str
    pattern: re.Pattern[str]
    columns: tuple[str, ...]


FORMATS = (
    LineFormat("fastText", FASTTEXT, ("label", "text")),
    LineFormat("TREC", TREC, ("label", "detail", "text")),
    LineFormat("label: text", COLON, ("label", "text")),
)


def line_format(text: TextFile) -> LineFormat | None:
    """The format of a file's lines, if nearly all of the first ones have it, with labels that repeat."""
    lines = [line for line in islice(text.head("\n"), LINES) if line.strip()]
    for form in FORMATS:
        found = [match for match in map(form.pattern.match, lines) if match]
        if not found or len(found) < SHARE * len(lines):
            continue
        if form.pattern is FASTTEXT:
            return form
        first = {match["detail" if form.pattern is TREC else "label"] for match in found}
        if len(first) > 1 and len(first) <= max(2, REPEATS * len(found)):
            return form
    return None


def line_records(text: TextFile, form: LineFormat) -> Iterator[dict[str, str] | Row]:
    """The cells of each line by column, and an unreadable row for a line without a label or with several; no blank lines."""
    for line in text.whole("\n"):
        if not line.strip():
            continue
        match = form.pattern.match(line.rstrip("\r\n"))
        if not match:
            yield unreadable_row(line, f"expected a line in the format {form.name}")
        elif form.pattern is not FASTTEXT:
            detail = {"detail": f"{match['label']}:{match['detail']}"} if form.pattern is TREC else {}
            yield {"label": match["label"], **detail, "text": match["text"]}
        elif len(labels := match["labels"].split()) > 1:
            yield unreadable_row(line, f"{len(labels)} labels; several labels per row (multi-label) are not supported")
        else:
            yield {"label": labels[0].removeprefix(PREFIX), "text": match["text"]}


def read_lines(text: TextFile, form: LineFormat, columns: Columns, info: FileInfo) -> Iterator[Row]:
    """All rows of a file with labelled lines; HeadwayError if it lacks a column."""
    info.columns = list(form.columns)
    columns.require(info.columns, text.file.name)
    for record in line_records(text, form):
        if isinstance(record, Row):
            yield record
        else:
            label = record[columns.label] if columns.label else None
            yield make_row(record[columns.text], label, [record[name] for name in columns.extra], text.encoding.name)
