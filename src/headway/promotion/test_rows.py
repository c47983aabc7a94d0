"""The test rows that a decision is based on. Light to import: no model is loaded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions, label_ids
from headway.evaluation.slices import slices
from headway.layout import Layout
from headway.params import EvaluationParams
from headway.promotion.decision import TestSet
from headway.tables import read_table


@dataclass(frozen=True)
class TestRows:
    """The prepared test split of a project, read from disk once, when it is first used."""

    __test__ = False  # not a test class for pytest

    layout: Layout

    @property
    def exist(self) -> bool:
        """Whether the split is on this disk."""
        return (self.layout.prepared / "test.parquet").is_file()

    @cached_property
    def table(self) -> pa.Table:
        """All columns of the split.

        Raises:
            HeadwayError: the file is missing or damaged.
        """
        return read_table(self.layout.prepared / "test.parquet", made_by="prepare")

    @cached_property
    def ids(self) -> list[str]:
        return self._column("id")

    @cached_property
    def texts(self) -> list[str]:
        return self._column("text")

    @cached_property
    def labels(self) -> list[str]:
        """The rows' true labels, by name."""
        return self._column("label")

    @cached_property
    def fingerprint(self) -> TestSet:
        """The fingerprint of the rows, which decisions contain."""
        return TestSet.of(self.ids, self.labels)

    def slices(self, classes: Sequence[str], params: EvaluationParams) -> dict[str, np.ndarray]:
        """Masks over the rows by the slice's name, bool, shape (rows,)."""
        return slices(self.table, classes, params)

    def require_scored(self, predictions: Predictions) -> None:
        """Check that predictions are of exactly these rows in this order.

        Raises:
            HeadwayError: the rows changed since.
        """
        labels = label_ids(self.labels, predictions.classes)
        if list(predictions.ids) != self.ids or not np.array_equal(predictions.labels, labels):
            raise HeadwayError("the test rows changed since the candidate was scored on them; run `dvc repro evaluate`")

    def _column(self, name: str) -> list[str]:
        return [str(one) for one in self.table[name].to_pylist()]
