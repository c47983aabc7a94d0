"""What every source provides: its rows in bounded record batches, and facts about each file. Nothing here knows a file format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from headway.data.sources.rows import Row
from headway.errors import HeadwayError
from headway.params import nearest

LABELLED = pa.schema(
    {"row": pa.int64(), "text": pa.large_string(), "label": pa.string(), "test": pa.bool_(), "problem": pa.string()}
)
UNLABELLED = pa.schema([LABELLED.field(name) for name in ("row", "text", "problem")])
ROWS_PER_BATCH = 10_000
CHARACTERS_PER_BATCH = 1 << 24  # ends a batch too: 10,000 long documents would fill the memory


@dataclass(frozen=True)
class Columns:
    """The columns to read."""

    text: str
    label: str | None  # None for texts without labels
    extra: tuple[str, ...] = ()  # kept as text
    split: str = ""  # which of these is data.split_column, "" for none
    time: str = ""  # which of these is split.time_column, "" for none

    @property
    def wanted(self) -> list[str]:
        return list(dict.fromkeys(name for name in (self.text, self.label, *self.extra) if name is not None))

    def require(self, found: Sequence[str], where: str) -> None:
        """Check that each wanted column is among those found, exactly once; the HeadwayError names the nearest one."""
        if self.label is not None and len(found) == 1:
            raise HeadwayError(f"{where}: has one column ({found[0][:80]}); expected one of texts and one of labels")
        known = [column or "(one without a name)" for column in found]
        knobs = [("data.text_column", self.text), ("data.label_column", self.label)]
        special = {self.split: "data.split_column", self.time: "split.time_column"}
        knobs += [(special.get(name, "data.slice_columns"), name) for name in self.extra]
        for knob, name in knobs:
            if name is not None and name not in found:
                raise HeadwayError(f"{where}: has no column {name!r} ({knob}); {nearest(name, known)}")
            if name is not None and list(found).count(name) > 1:
                raise HeadwayError(f"{where}: has more than one column {name!r} ({knob}); rename all but one")


def extra_columns(slice_columns: Sequence[str], time_column: str) -> tuple[str, ...]:
    """Names of the further columns that ingest reads: those in ``data.slice_columns``, and last the time column, if any."""
    return (*slice_columns, time_column) if time_column else tuple(slice_columns)


@dataclass
class FileInfo:
    """Facts about one file or split, filled in while it is read; "" where a fact does not apply."""

    name: str  # of the file, relative to its folder, or of the split
    size: int | None = None  # bytes of the file as stored
    sha256: str = ""  # hex digest of those bytes
    encoding: str = ""  # Python's name for a text file's encoding
    encoding_guessed: bool = False  # whether the encoding was guessed from letter frequencies
    delimiter: str = ""  # between the cells of a CSV file
    rows: int = 0  # rows read so far
    columns: list[str] = field(default_factory=list)  # names of all columns found
    unterminated_label: str | None = None  # label of a CSV's last line if it has no end ("" if unreadable), else None


@dataclass(frozen=True)
class Part:
    """One file or split of a source."""

    info: FileInfo  # complete once all rows have been read
    read: Callable[[], Iterator[Row]]  # all rows in order; HeadwayError if the whole file cannot be read
    is_test: bool = False  # whether the rows form the test split


@dataclass(frozen=True)
class Source:
    """Labelled texts, and where they come from."""

    name: str  # kind and name, for people
    version: str  # of the package, or revision on the Hub; "" for files
    labelled: Sequence[Part]  # files or splits with labels, test parts first
    unlabelled: Sequence[Part] = ()  # files or splits without labels
    ignored_files: Sequence[str] = ()  # files of the folder that are not read: of another kind, or matched by no pattern
    extra_columns: Sequence[str] = ()  # names of the further columns of the labelled rows, as ingest keeps them

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*LABELLED, *((name, pa.string()) for name in self.extra_columns)])

    def labelled_batches(self) -> Iterator[pa.RecordBatch]:
        """All labelled rows, numbered from 1, in batches of ``schema``."""
        return _batches(self.labelled, self.schema)

    def unlabelled_batches(self) -> Iterator[pa.RecordBatch]:
        """All unlabelled rows, numbered from 1, in batches of ``UNLABELLED``."""
        return _batches(self.unlabelled, UNLABELLED)


def _batches(parts: Sequence[Part], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of all parts, in batches that end when they are full."""
    first = 1  # number of the batch's first row
    rows: list[Row] = []
    characters = 0
    for part in parts:
        for row in part.read():
            rows.append(row._replace(test=True) if part.is_test else row)
            part.info.rows += 1
            characters += len(row.text or "") + len(row.label or "")
            if len(rows) == ROWS_PER_BATCH or characters >= CHARACTERS_PER_BATCH:
                yield _batch(rows, first, schema)
                first += len(rows)
                rows, characters = [], 0
    if rows:
        yield _batch(rows, first, schema)


def _batch(rows: list[Row], first: int, schema: pa.Schema) -> pa.RecordBatch:
    columns: dict[str, Any] = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    columns["row"] = range(first, first + len(rows))
    for index, name in enumerate(schema.names[len(LABELLED) :]):
        columns[name] = [row.extra[index] if row.extra else None for row in rows]
    return pa.record_batch(
        [pa.array(columns[name], type) for name, type in zip(schema.names, schema.types, strict=True)], schema
    )
