"""Which columns of an unknown file are the text and the label: a proposal, from names and from what stands in them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from headway.data.sources import columnar, encodings, objects
from headway.data.sources.delimited import delimiters_of, names_of, table_rows
from headway.data.sources.source import as_written
from headway.data.sources.streams import LocalFile
from headway.errors import HeadwayError
from headway.params import nearest

Record = dict[str, Any]
#: Columns of a file in their order, each with the values of the same rows as they are written, "" for none.
Columns = dict[str, list[str]]
SAMPLE = 2_000
MOST_CLASSES = 1_000
TEXT_NAMES = (
    "text",
    "review",
    "comment",
    "body",
    "content",
    "sentence",
    "message",
    "description",
    "document",
    "tweet",
    "title",
)
LABEL_NAMES = (
    "label",
    "class",
    "category",
    "target",
    "sentiment",
    "stars",
    "rating",
    "topic",
    "intent",
    "y",
    "score",
    "tag",
)


@dataclass(frozen=True)
class Proposal:
    """The two columns, and which others might be the label."""

    text: str
    label: str
    others: tuple[str, ...]


def glimpse(file: LocalFile, encoding: str) -> Columns:
    """Look at rows from all over a file, whatever its kind: many are sorted by label.

    Args:
        file: the file.
        encoding: of a text file, or ``auto``.

    Raises:
        HeadwayError: it is empty or cannot be read.
    """
    with file.read_errors():
        if not file.path.stat().st_size:
            raise HeadwayError(f"{file.name}: empty; expected rows with a text and a label")
        if file.kind == ".parquet":
            rows = _spread(columnar.records_of(file, SAMPLE))
        else:
            name = encodings.recognise(file.open_bytes, encoding, file.name).name
            rows = _spread(_objects(file, name) if file.kind in (".json", ".jsonl") else _records(file, name))
    if not rows:
        raise HeadwayError(f"{file.name}: holds no rows; expected rows with a text and a label")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [as_written(row.get(name)) or "" for row in rows] for name in names}


def propose(found: Columns, where: str, text: str | None = None, label: str | None = None) -> Proposal:
    """Choose the columns that were not named.

    The text is the column with the longest values, most of them different; the label is one with few different values.
    A name that is usual for either counts for more.

    Raises:
        HeadwayError: no column is like a text, or none like a label.
    """
    if text is not None and text == label:
        raise HeadwayError(f"--text and --label both name the column {text}; a text cannot be its own label")
    for option, name in (("--text", text), ("--label", label)):
        if name is not None and name not in found:
            raise HeadwayError(f"{option}: {where} has no column {name!r}; {nearest(name, list(found))}")
    named = {name: column for name, column in found.items() if name}
    position = list(found).index("") + 1 if len(named) < len(found) else 0
    unnamed = f"; column {position} has no name: give it one in the file's first line" if position else ""
    if len(found) < 2:
        raise HeadwayError(f"{where}: has one column ({', '.join(found)}); expected one of texts and one of labels")
    if text is None:
        values = {name: _text_score(name, column) for name, column in named.items() if name != label}
        text = max(values, key=values.__getitem__, default=None)
        if text is None or not values[text]:
            raise HeadwayError(f"{where}: no column looks like texts; name it with --text ({', '.join(named)}){unnamed}")
    scores = {name: _label_score(name, column) for name, column in named.items() if name != text}
    likely = sorted((name for name in scores if scores[name] > 0), key=lambda name: -scores[name])
    if label is None:
        if not likely:
            raise HeadwayError(
                f"{where}: no column looks like labels (2 to {MOST_CLASSES:,} different values, repeated); "
                f"name it with --label ({', '.join(scores)}){unnamed}"
            )
        label = likely[0]
    return Proposal(text, label, tuple(name for name in likely if name != label))


def require_header(found: Columns, proposal: Proposal, file: LocalFile) -> None:
    """Return unless the first line of a CSV looks like a row: what names the label stands among the labels below, too.

    Raises:
        HeadwayError: it looks like one.
    """
    if file.kind not in (".csv", ".tsv"):
        return
    rows = zip(found[proposal.text], found[proposal.label], strict=True)
    again = sum(label.strip() == proposal.label and text.strip() != proposal.text for text, label in rows)
    if again:
        raise HeadwayError(
            f"{file.name}: its first line looks like a row and no header, for {proposal.label!r} stands below it "
            f"{'once' if again == 1 else f'{again:,} times'} more; put a line of names before it, as text,label"
        )


def _spread(rows: Iterable[Record]) -> list[Record]:
    """At most ``SAMPLE`` of the rows, drawn evenly from all of them, the same ones every time (reservoir sampling)."""
    kept: list[Record] = []
    draw = random.Random(0)
    for number, row in enumerate(rows):
        if number < SAMPLE:
            kept.append(row)
        elif (place := draw.randrange(number + 1)) < SAMPLE:
            kept[place] = row
    return kept


def _records(file: LocalFile, encoding: str) -> Iterator[Record]:
    """Rows of a CSV, under the delimiter that gives the most rows as many cells as the header has."""
    delimiters = delimiters_of(file, encoding)
    width = {delimiter: _widths(file, encoding, delimiter) for delimiter in delimiters}
    delimiter = max(delimiters, key=lambda mark: (width[mark][0] > 1 and width[mark].count(width[mark][0]), width[mark][0]))
    rows = (cells for cells, _, problem in table_rows(file, encoding, delimiter) if not problem)
    header = names_of(next(rows, []))
    for cells in rows:
        if len(cells) == len(header):
            yield dict(zip(header, cells, strict=True))


def _widths(file: LocalFile, encoding: str, delimiter: str) -> list[int]:
    """Cells of the first rows, the header's first."""
    return [len(cells) for cells, _, _ in islice(table_rows(file, encoding, delimiter), 200)] or [0]


def _objects(file: LocalFile, encoding: str) -> Iterator[Record]:
    """Objects of a JSON file; what is none is told when the file is read in earnest."""
    return (value for value in objects.values_of(file, encoding) if isinstance(value, dict))


def _text_score(name: str, values: Sequence[str]) -> float:
    """Mean characters of a value, less the more values repeat, more for a usual name; 0 where there are no letters."""
    letters = sum(any(character.isalpha() for character in value) for value in values) / len(values)
    mean = sum(map(len, values)) / len(values)
    return mean * letters * (len(set(values)) / len(values)) * (2 if _is_named(name, TEXT_NAMES) else 1)


def _label_score(name: str, values: Sequence[str]) -> float:
    """How much a column is like labels: few short values, often repeated; 0 when it cannot be."""
    present = [value for value in values if value.strip()]
    different = len(set(present))
    if not 2 <= different <= MOST_CLASSES or different > 0.5 * len(present) or max(map(len, present)) > 200:
        return 0.0
    return (1 - different / len(present)) * (2 if _is_named(name, LABEL_NAMES) else 1)


def _is_named(name: str, usual: Sequence[str]) -> bool:
    return any(word in usual for word in name.lower().replace("-", "_").split("_"))
