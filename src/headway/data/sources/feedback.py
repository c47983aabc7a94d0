"""Labelled answers of the champion in ``data/feedback``, as further parts of a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from headway.data.sources.files import file_part
from headway.data.sources.rows import Row
from headway.data.sources.source import Columns, Part, Source
from headway.data.sources.streams import LocalFile

TEXT, LABEL, TIME = "text", "label", "time"


def with_feedback(source: Source, folder: Path, time_column: str) -> Source:
    """A source with the rows of the Parquet files in a folder, in the order of their names. Their slice columns are empty.

    Args:
        time_column: value of ``split.time_column``; unless it is "", the files' column ``time`` takes its place.

    Raises:
        HeadwayError: a file is damaged or lacks a column.
    """
    extra = (TIME,) if time_column else ()
    missing = len(source.extra_columns) - len(extra)

    def completed(part: Part) -> Iterator[Row]:
        for row in part.read():
            yield row if row.problem else row._replace(extra=(*[None] * missing, *row.extra))

    parts = []
    for path in sorted(folder.glob("*.parquet")):
        file = LocalFile(path, f"{folder.name}/{path.name}")
        part = file_part(file, Columns(TEXT, LABEL, extra, time=TIME if extra else ""), "auto")
        parts.append(replace(part, read=partial(completed, part)))
    return replace(source, labelled=[*source.labelled, *parts])
