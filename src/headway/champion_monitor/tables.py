"""Tables of texts, with or without true labels, that are monitored in place of the prediction log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from headway.data.identity import canonical_label
from headway.data.preparation.label_map import LabelMap
from headway.data.sources.nested import value_at
from headway.data.sources.rows import cell_text
from headway.errors import HeadwayError
from headway.monitoring.answers import Answers, concatenated
from headway.monitoring.monitor import Monitor
from headway.monitoring.wording import trigrams
from headway.params import DataParams, nearest
from headway.serving.batch.columns import LABEL as PREDICTED
from headway.serving.batch.columns import PROBABILITY
from headway.serving.batch.records import Facts, InputFile, records
from headway.serving.log.unknown import unknown_shares
from headway.serving.package import ModelPackage

#: Rows that are scored at once.
ROWS = 1_000
#: What the answers are counted by: the rows of a table have no day.
DAY = ""


@dataclass(frozen=True)
class TableRows:
    """Some rows of tables, in order.

    Attributes:
        texts: None for a row without a usable one.
        labels: true labels, "" where there is none.
    """

    texts: Sequence[str | None]
    labels: Sequence[str]

    @property
    def usable(self) -> list[str]:
        """The texts that can be classified."""
        return [text for text in self.texts if text]


@dataclass
class ScoredTables:
    """The champion's answers on tables. The order of their rows says nothing about time (many are sorted by label), so that the
    monitor reads them in an order that is drawn at random, the same one each time."""

    package: ModelPackage
    answers: list[Answers] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    unanswered: int = 0

    def add(self, rows: TableRows) -> None:
        """Classify some rows."""
        probabilities, _ = self.package.classify(list(rows.texts))
        answered = np.flatnonzero(~np.isnan(probabilities).any(axis=1))
        self.unanswered += len(rows.texts) - len(answered)
        texts = [str(rows.texts[row]) for row in answered.tolist()]
        predicted = probabilities[answered].argmax(axis=1).astype(np.int64)
        self.labels += [rows.labels[row] for row in answered.tolist()]
        self.answers.append(
            Answers(
                predicted,
                probabilities[answered, predicted],
                np.array([len(text) for text in texts], np.int64),
                unknown_shares(self.package, texts).astype(np.float64),
                np.full(len(texts), DAY),
                trigrams(texts),
            )
        )

    def read_by(self, monitor: Monitor) -> None:
        """Let a monitor read all answers and labels."""
        if not self.labels:
            return
        order = np.random.default_rng(0).permutation(len(self.labels))
        answers = concatenated(self.answers).take(order)
        monitor.add(answers, [DAY] * self.unanswered)
        labels = [self.labels[row] for row in order]
        labelled = np.array([bool(label) for label in labels])
        monitor.add_labelled(answers.take(labelled), [label for label in labels if label], [None] * int(labelled.sum()))


def table_rows(sources: Sequence[InputFile], label_column: str, params: DataParams) -> Iterator[TableRows]:
    """The rows of some tables in batches.

    Args:
        label_column: with the true labels; "" takes that of training if there is one, and if it is not of predictions.

    Raises:
        HeadwayError: a table cannot be read, or lacks the named column.
    """
    label_map = LabelMap(params.label_map)
    column = label_column or params.label_column
    for source in sources:
        facts, has_column = Facts(), not label_column
        found = records(source, facts)
        while batch := list(islice(found, ROWS)):
            # A file of `headway predict` has a column label: what was predicted, not what is true.
            is_prediction = not label_column and column == PREDICTED and any(PROBABILITY in one.values for one in batch)
            labels = ["" if is_prediction else cell_text(value_at(record.values, column)) or "" for record in batch]
            has_column = has_column or column in facts.types or any(labels)
            if not facts.by_value:  # of a table, all columns are known now; a key of JSON may come later
                _require(has_column, source, label_column, facts)
            yield TableRows(
                [None if record.problem else record.text for record in batch],
                [label_map(canonical_label(label)) if label else "" for label in labels],
            )
        _require(has_column, source, label_column, facts)


def _require(has_column: bool, source: InputFile, label_column: str, facts: Facts) -> None:
    if not has_column:
        remedy = nearest(label_column, list(facts.types))
        raise HeadwayError(f"--label-column: {source.file.name} has no column {label_column!r}; {remedy}")
