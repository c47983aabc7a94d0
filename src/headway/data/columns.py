"""Which columns of an unknown file are the text and the label: a proposal from their names and a sample of their values."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from headway.data.sources.delimited import column_names, possible_delimiters, table_rows
from headway.data.sources.json_objects import json_values
from headway.data.sources.parquet import sample_parquet
from headway.data.sources.rows import cell_text
from headway.data.sources.streams import LocalFile, TextFile
from headway.errors import HeadwayError
from headway.params import nearest

Record = dict[str, Any]
#: Columns in the file's order, each with its values in the sampled rows, "" for a missing value.
Sample = dict[str, list[str]]
SAMPLE = 2_000  # rows
ROWS_PER_DELIMITER = 200  # from which the delimiter is chosen
MOST_CLASSES = 1_000
LONGEST_LABEL = 200  # characters
TEXT_NAMES = {"text", "review", "comment", "body", "content", "sentence", "message", "description", "document"}
TEXT_NAMES |= {"tweet", "title"}
LABEL_NAMES = {
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
}


@dataclass(frozen=True)
class Proposal:
    """The two columns, and other columns that might be the label, the most likely first."""

    text: str
    label: str
    others: tuple[str, ...]


def sample_rows(file: LocalFile, encoding: str) -> Sample:
    """Rows from all over a file, because many files are sorted by label; HeadwayError if it is empty or cannot be read."""
    with file.opened() as (_, stream):
        if file.kind == ".parquet":
            rows = _reservoir(sample_parquet(file, stream, SAMPLE))
        else:
            text = TextFile(file, stream, encoding)
            # Other content of a JSON file is reported when the file is ingested.
            objects = (value for value in json_values(text) if isinstance(value, dict))
            rows = _reservoir(_csv_records(text) if file.kind in (".csv", ".tsv") else objects)
    if not rows:
        raise HeadwayError(f"{file.name}: holds no rows; expected rows with a text and a label")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [cell_text(row.get(name)) or "" for row in rows] for name in names}


def propose(sample: Sample, where: str, text: str | None = None, label: str | None = None) -> Proposal:
    """Choose the columns that ``text`` and ``label`` do not name.

    The text is the column with the longest values, most of them different; the label is one with few different values.
    A usual name for either doubles its chances. HeadwayError if no column fits, or a named one does not exist.
    """
    if text is not None and text == label:
        raise HeadwayError(f"--text and --label both name the column {text}; expected two different columns")
    for option, name in (("--text", text), ("--label", label)):
        if name is not None and name not in sample:
            raise HeadwayError(f"{option}: {where} has no column {name!r}; {nearest(name, list(sample))}")
    if len(sample) < 2:
        raise HeadwayError(f"{where}: has one column ({', '.join(sample)}); expected one of texts and one of labels")
    named = {name: values for name, values in sample.items() if name}
    hint = ""
    if "" in sample:
        hint = f"; column {list(sample).index('') + 1} has no name: give it one in the file's first line"
    if text is None:
        scores = {name: _text_score(name, values) for name, values in named.items() if name != label}
        text = max(scores, key=scores.__getitem__, default=None)
        if text is None or not scores[text]:
            raise HeadwayError(f"{where}: no column looks like texts; name it with --text ({', '.join(named)}){hint}")
    scores = {name: _label_score(name, values) for name, values in named.items() if name != text}
    likely = sorted((name for name in scores if scores[name] > 0), key=lambda name: -scores[name])
    if label is None:
        if not likely:
            raise HeadwayError(
                f"{where}: no column looks like labels (2 to {MOST_CLASSES:,} different values, repeated); "
                f"name it with --label ({', '.join(scores)}){hint}"
            )
        label = likely[0]
    return Proposal(text, label, tuple(name for name in likely if name != label))


def require_header(sample: Sample, proposal: Proposal, file: LocalFile) -> None:
    """Refuse a CSV whose first line looks like a row: the label column's name is one of the labels below it."""
    rows = zip(sample[proposal.text], sample[proposal.label], strict=True)
    again = sum(label.strip() == proposal.label and text.strip() != proposal.text for text, label in rows)
    if again and file.kind in (".csv", ".tsv"):
        raise HeadwayError(
            f"{file.name}: the first line looks like a row, not a header: its value {proposal.label!r} occurs "
            f"{again:,} more time{'s' * (again > 1)} below; add a first line with the columns' names, such as text,label"
        )


def _reservoir(rows: Iterable[Record]) -> list[Record]:
    """At most ``SAMPLE`` of the rows, each with the same chance, and the same ones every time (reservoir sampling)."""
    kept: list[Record] = []
    draw = random.Random(0)
    for number, row in enumerate(rows):
        if number < SAMPLE:
            kept.append(row)
        elif (place := draw.randrange(number + 1)) < SAMPLE:
            kept[place] = row
    return kept


def _csv_records(text: TextFile) -> Iterator[Record]:
    """Rows of a CSV, with the delimiter that gives the most rows as many cells as the header."""

    def fit(delimiter: str) -> tuple[int, int]:
        rows = islice(table_rows(text, delimiter, head_only=True), ROWS_PER_DELIMITER)
        widths = [len(row.cells) for row in rows] or [0]
        return widths.count(widths[0]) if widths[0] > 1 else 0, widths[0]

    rows = (row.cells for row in table_rows(text, max(possible_delimiters(text), key=fit)) if not row.problem)
    header = column_names(next(rows, []))
    return (dict(zip(header, cells, strict=True)) for cells in rows if len(cells) == len(header))


def _text_score(name: str, values: Sequence[str]) -> float:
    """Mean length of the values, lower if they repeat, double for a usual name; 0 if none has letters."""
    with_letters = sum(any(map(str.isalpha, value)) for value in values)
    return sum(map(len, values)) * with_letters * len(set(values)) / len(values) ** 3 * _weight(name, TEXT_NAMES)


def _label_score(name: str, values: Sequence[str]) -> float:
    """How often the values of a column repeat, double for a usual name; 0 if they cannot be labels."""
    present = [value for value in values if value.strip()]
    different = len(set(present))
    if not 2 <= different <= MOST_CLASSES or different > 0.5 * len(present) or max(map(len, present)) > LONGEST_LABEL:
        return 0.0
    return (1 - different / len(present)) * _weight(name, LABEL_NAMES)


def _weight(name: str, usual: set[str]) -> int:
    return 2 if usual.intersection(name.lower().replace("-", "_").split("_")) else 1
