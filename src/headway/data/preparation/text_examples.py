"""Texts that show what the data is like: some of each class, the longest and the shortest, and pairs of near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headway.data.preparation.ingested import Record
from headway.data.preparation.scan import Scan
from headway.data.preparation.split_assignment import Assignment
from headway.data.text.excerpts import excerpt
from headway.data.text.splits import TRAIN

#: Texts of each class, and characters that are kept of one; characters of the others.
PER_CLASS, EXCERPT, LONG_EXCERPT = 3, 300, 1_000


class TextExample(Record):
    """The beginning of a kept text, with the length of the whole."""

    label: str
    characters: int
    text: str


class TextExamples(Record):
    """Examples of the kept, labelled texts.

    Attributes:
        classes: the first training texts of each class, by its name, in the order of the ids.
        longest, shortest: the first of equal length.
        near_duplicates: pairs of texts that count as near-duplicates, each from another group.
    """

    classes: dict[str, list[TextExample]]
    longest: TextExample
    shortest: TextExample
    near_duplicates: list[tuple[TextExample, TextExample]]


class ExampleTexts:
    """Collects the examples' texts from the batches of all rows."""

    def __init__(self, scan: Scan, assignment: Assignment, labels: Sequence[str]) -> None:
        self._scan = scan
        self._labels = labels
        kept = np.flatnonzero((assignment.split >= 0) & scan.rows.labelled & (scan.rows.label >= 0))
        training = kept[assignment.split[kept] == TRAIN]
        code = {name: index for index, name in enumerate(scan.labels)}
        label = scan.rows.label[training]
        order = training[np.argsort(label, kind="stable")]
        starts = np.searchsorted(np.sort(label), np.arange(len(scan.labels) + 1))
        self._of_class = {name: order[starts[code[name]] : starts[code[name] + 1]][:PER_CLASS].tolist() for name in labels}
        lengths = scan.characters[kept]
        self._longest, self._shortest = int(kept[lengths.argmax()]), int(kept[lengths.argmin()])
        self._pairs: list[list[int]] = assignment.near_duplicate_pairs.tolist()
        self._excerpt = dict.fromkeys((row for rows in self._of_class.values() for row in rows), EXCERPT)
        more = [self._longest, self._shortest, *(row for pair in self._pairs for row in pair)]
        self._excerpt |= dict.fromkeys(more, LONG_EXCERPT)
        self._rows = np.array(sorted(self._excerpt), dtype=np.int64)
        self._found: dict[int, TextExample] = {}

    def add(self, start: int, batch: pa.RecordBatch) -> None:
        """Take the examples from a batch, which starts at row ``start``."""
        first, last = np.searchsorted(self._rows, [start, start + batch.num_rows])
        for row in self._rows[first:last].tolist():
            text = batch["text"][row - start].as_py()
            self._found[row] = TextExample(
                label=self._scan.labels[self._scan.rows.label[row]],
                characters=len(text),
                text=excerpt(text, self._excerpt[row]),
            )

    def examples(self) -> TextExamples:
        """The examples, after all batches were added."""
        found = self._found
        return TextExamples(
            classes={name: [found[row] for row in rows] for name, rows in self._of_class.items()},
            longest=found[self._longest],
            shortest=found[self._shortest],
            near_duplicates=[(found[one], found[other]) for one, other in self._pairs],
        )
