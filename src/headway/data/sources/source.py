"""What every source gives: rows, part by part, as bounded record batches, and facts about what was read.

Nothing here knows a format or a place; the modules beside this one do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from headway.errors import HeadwayError
from headway.params import nearest

LABELLED = pa.schema(
    [
        ("row", pa.int64()),
        ("text", pa.large_string()),
        ("label", pa.string()),
        ("test", pa.bool_()),
        ("problem", pa.string()),
    ]
)
UNLABELLED = pa.schema([LABELLED.field(name) for name in ("row", "text", "problem")])


def with_columns(schema: pa.Schema, more: Sequence[str]) -> pa.Schema:
    """A schema with columns that are carried along as text."""
    return pa.schema([*schema, *((name, pa.string()) for name in more)])


ROWS_PER_BATCH = 10_000
CHARACTERS_PER_BATCH = 1 << 24  # a batch is full at either: ten thousand long documents would fill the memory
LONGEST_RAW = 2_000  # characters that are kept of a row that cannot be read


class Row(NamedTuple):
    """One row: cells as they are written, None where there is none; ``problem`` is "" or why it could not be read; ``more``
    are the cells that are carried along, none of them where there is a problem."""

    text: str | None
    label: str | None
    problem: str = ""
    more: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The columns to read; ``label`` is None where texts have none; ``more`` are those to be carried along."""

    text: str
    label: str | None
    more: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[str]:
        """All of them."""
        return [name for name in (self.text, self.label, *self.more) if name is not None]

    def require(self, found: Sequence[str], where: str) -> None:
        """Return when each wanted column stands once among those found.

        Raises:
            HeadwayError: one is missing or stands there twice; the message names the nearest.
        """
        if self.label is not None and len(found) == 1:
            raise HeadwayError(f"{where}: has one column ({found[0][:80]}); expected one of texts and one of labels")
        known = [column or "(one without a name)" for column in found]
        knobs = [("text_column", self.text), ("label_column", self.label), *(("slice_columns", name) for name in self.more)]
        for knob, name in knobs:
            if name is not None and name not in found:
                raise HeadwayError(f"{where}: has no column {name!r} (data.{knob}); {nearest(name, known)}")
            if name is not None and list(found).count(name) > 1:
                raise HeadwayError(f"{where}: has more than one column {name!r} (data.{knob}); rename all but one")


@dataclass
class Facts:
    """What is known of one part of a source, "" where it has none; a part fills in what it learns while it is read.

    Attributes:
        name: of the file below its folder, or of the split.
        size: bytes of the file.
        sha256: of these bytes.
        encoding: Python's name of a text file's encoding.
        encoding_guessed: whether that was guessed from the frequency of letters.
        delimiter: between the cells of a CSV file.
        rows: those that were taken so far.
        columns: all that were found.
        loose_end: where the last line of a CSV has no end, its label, or "" if it cannot be read; None where it has one.
    """

    name: str
    size: int | None = None
    sha256: str = ""
    encoding: str = ""
    encoding_guessed: bool = False
    delimiter: str = ""
    rows: int = 0
    columns: list[str] = field(default_factory=list)
    loose_end: str | None = None


class Part:
    """One file or split of a source.

    Attributes:
        facts: complete once all rows were taken.
        test: whether its rows are the test split.
    """

    def __init__(self, facts: Facts, test: bool = False):
        self.facts = facts
        self.test = test

    def rows(self) -> Iterator[Row]:
        """All rows in their order.

        Raises:
            HeadwayError: the part as a whole cannot be read, or lacks a column.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Source:
    """A place that labelled texts come from.

    Attributes:
        name: kind and name, for people.
        version: of the package, revision on the Hub, or "" for files.
        labelled: parts with labels, test parts first.
        unlabelled: parts without.
        left_aside: names of the folder's files that are not read, be it for their kind or because no pattern takes them.
        data_left_aside: those of them that are of a known kind.
        slice_columns: what labelled rows carry along.
    """

    name: str
    version: str
    labelled: Sequence[Part]
    unlabelled: Sequence[Part] = ()
    left_aside: Sequence[str] = ()
    data_left_aside: Sequence[str] = ()
    slice_columns: Sequence[str] = ()

    @property
    def schema(self) -> pa.Schema:
        """``LABELLED``, with the columns that are carried along."""
        return with_columns(LABELLED, self.slice_columns)

    def labelled_batches(self) -> Iterator[pa.RecordBatch]:
        """All labelled rows, numbered from 1, in batches of ``schema``."""
        return _batches(self.labelled, self.schema)

    def unlabelled_batches(self) -> Iterator[pa.RecordBatch]:
        """All rows without labels, numbered from 1, in batches of the schema ``UNLABELLED``."""
        return _batches(self.unlabelled, UNLABELLED)


def _batches(parts: Sequence[Part], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of all parts as batches; a batch ends with its part, or when it is full."""
    number = 0
    for part in parts:
        rows: list[Row] = []
        characters = 0
        for row in part.rows():
            rows.append(row)
            part.facts.rows += 1
            characters += len(row.text or "") + len(row.label or "")
            if len(rows) == ROWS_PER_BATCH or characters >= CHARACTERS_PER_BATCH:
                yield _batch(rows, number, part.test, schema)
                number += len(rows)
                rows, characters = [], 0
        if rows:
            yield _batch(rows, number, part.test, schema)
            number += len(rows)


def _batch(rows: list[Row], number: int, test: bool, schema: pa.Schema) -> pa.RecordBatch:
    """Rows as one batch; ``number`` rows came before them."""
    columns: dict[str, Any] = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    columns |= {"row": range(number + 1, number + len(rows) + 1), "test": [test] * len(rows)}
    for place, name in enumerate(schema.names[len(LABELLED) :]):
        columns[name] = [row.more[place] if row.more else None for row in rows]
    return pa.record_batch(
        [pa.array(columns[name], type) for name, type in zip(schema.names, schema.types, strict=True)], schema
    )


def row_of(text: Any, label: Any, more: Sequence[Any] = (), encoding: str = "utf-8") -> Row:
    """A row from values as a parser gives them; what no text can be made of is a problem, not an error.

    What is carried along is no reason for a problem: there it is a gap, as an empty cell is.
    """
    cells = [as_written(text), as_written(label)]
    for name, value, cell in (("text", text, cells[0]), ("label", label, cells[1])):
        if cell is None and isinstance(value, list | tuple | dict):
            return unreadable(cells[0] or str(text), f"the {name} is a {type(value).__name__}, expected a string")
        if cell is not None and not _is_unicode(cell):
            return unreadable(cells[0] or "", f"the {name} is not valid {encoding}")
    return Row(cells[0], cells[1], more=tuple(as_unicode(as_written(value) or "") or None for value in more))


def unreadable(raw: str, problem: str) -> Row:
    """A row that stands for what could not be read, with the beginning of that."""
    return Row(as_unicode(raw[:LONGEST_RAW].rstrip("\r\n")), None, problem)


def as_unicode(text: str) -> str:
    """A string with a replacement character for each lone surrogate, so that it can be written."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_written(value: Any) -> str | None:
    """A cell as a string; None for a gap, for NaN, and for a list or an object.

    Whole numbers that were read as floats (a column with gaps) lose their ``.0``.
    """
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float():
            return None if value != value else str(int(value)) if value.is_integer() else str(value)
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case None | list() | tuple() | dict():
            return None
        case _:
            return str(value)


def _is_unicode(text: str) -> bool:
    """Whether a string has no lone surrogate: decoders leave one where bytes are not valid."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
