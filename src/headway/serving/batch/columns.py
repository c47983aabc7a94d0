"""The columns that a job adds to those of the input, and their values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError
from headway.serving.batch.records import STRING

LABEL, PROBABILITY, VERSION, REASON, FILE = "label", "probability", "model_version", "reason", "source_file"
REQUEST_ID = "request_id"
#: Before the name of an added column that the input has too.
PREFIX = "predicted_"


@dataclass(frozen=True)
class Added:
    """What is added to each row."""

    version: str  # of the model
    classes: tuple[str, ...]
    top_k: int = 1  # number of labels, the most probable first
    all_probabilities: bool = False
    with_file: bool = False  # whether the row's file is named
    with_id: bool = False  # whether the row has its id in the prediction log

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Types by name, in order."""
        names: dict[str, pa.DataType] = {FILE: STRING} if self.with_file else {}
        for rank in range(1, self.top_k + 1):
            suffix = f"_{rank}" if rank > 1 else ""
            names |= {LABEL + suffix: STRING, PROBABILITY + suffix: pa.float32()}
        if self.all_probabilities:
            names |= dict.fromkeys((f"probability of {name}" for name in self.classes), pa.float32())
        return {**names, VERSION: STRING, REASON: STRING, **({REQUEST_ID: STRING} if self.with_id else {})}

    def names(self, taken: Collection[str]) -> list[str]:
        """Names of the columns in the output: with ``PREFIX`` where the input has a column of that name.

        Raises:
            HeadwayError: the input has both names.
        """
        names = [name if name not in taken else PREFIX + name for name in self.types]
        for name, renamed in zip(self.types, names, strict=True):
            if renamed in taken or names.count(renamed) > 1:
                raise HeadwayError(f"the input has the columns {name!r} and {PREFIX + name!r} already; rename one of them")
        return names

    def values(
        self, probabilities: np.ndarray, reasons: Sequence[str], files: Sequence[str], ids: Sequence[str] = ()
    ) -> list[list[Any]]:
        """The columns of some rows, null where a row has a reason. Probabilities are the shortest decimals of their float32.

        Args:
            probabilities: float32, (rows, classes), NaN in rows with a reason.
            files: name of each row's file.
            ids: of each row in the prediction log, if they are a column.
        """
        labelled = np.array([not reason for reason in reasons], dtype=bool)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        columns: list[list[Any]] = [list(files)] if self.with_file else []
        for rank in range(self.top_k):
            best = order[:, rank]
            columns.append([self.classes[index] if ok else None for index, ok in zip(best, labelled, strict=True)])
            columns.append(_decimals(probabilities[np.arange(len(best)), best], labelled))
        if self.all_probabilities:
            columns += [_decimals(column, labelled) for column in probabilities.T]
        columns += [[self.version] * len(reasons), [reason or None for reason in reasons]]
        return [*columns, list(ids)] if self.with_id else columns


def _decimals(values: np.ndarray, known: np.ndarray) -> list[float | None]:
    return [float(text) if ok else None for text, ok in zip(values.astype(str), known, strict=True)]
