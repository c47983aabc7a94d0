"""Predictions of a model on labelled rows, from which metrics and promotion decisions are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headway.errors import StageOutputError
from headway.tables import read_table


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of a model on labelled rows."""

    ids: Sequence[str]  # unique ids of the rows
    labels: np.ndarray  # true label ids, int, (rows,); -1 for a label unknown to the model
    probabilities: np.ndarray  # float32, (rows, classes), in the order of ``classes``
    classes: Sequence[str]  # names of the labels

    @property
    def predicted(self) -> np.ndarray:
        """Most likely class of each row, int, (rows,)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def correct(self) -> np.ndarray:
        """Whether each row's most likely class is its label, bool, (rows,)."""
        return np.asarray(self.predicted == self.labels)

    def take(self, rows: np.ndarray) -> Predictions:
        """The rows at the given indices, in their order."""
        ids = [self.ids[row] for row in rows.tolist()]
        return Predictions(ids, self.labels[rows], self.probabilities[rows], self.classes)

    def save(self, path: Path) -> None:
        """Write as Parquet: id, label_id and probability (a list), with the classes in the schema's metadata."""
        classes = self.probabilities.shape[1]
        flat = pa.array(np.ascontiguousarray(self.probabilities, dtype=np.float32).reshape(-1))
        table = pa.table(
            {
                "id": pa.array(list(self.ids), pa.string()),
                "label_id": pa.array(self.labels.astype(np.int32)),
                "probability": pa.FixedSizeListArray.from_arrays(flat, classes),
            }
        ).replace_schema_metadata({f"class {index}": name for index, name in enumerate(self.classes)})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def load(cls, path: Path, made_by: str) -> Self:
        """Read what :meth:`save` wrote; StageOutputError if it is missing or damaged."""
        table = read_table(path, made_by)
        if table.column_names != ["id", "label_id", "probability"]:
            raise StageOutputError(path, made_by, "not predictions")
        metadata = table.schema.metadata
        classes = [metadata[f"class {index}".encode()].decode() for index in range(table["probability"].type.list_size)]
        probabilities = table["probability"].combine_chunks().flatten().to_numpy().reshape(-1, len(classes))
        return cls(table["id"].to_pylist(), table["label_id"].to_numpy(), probabilities, classes)


def label_ids(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """True labels as indices into a model's classes, int, shape (rows,); -1 for a label that the model does not know."""
    known = {name: index for index, name in enumerate(classes)}
    return np.array([known.get(name, -1) for name in labels], dtype=np.int64)
