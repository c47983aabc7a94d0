"""Predictions on labelled rows: what every model leaves behind, and what metrics and gate are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headway.errors import HeadwayError
from headway.tables import read_table


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of a model on labelled rows.

    Attributes:
        ids: the rows' identities, one string a row, without repeats.
        labels: true label ids, int, shape (rows,).
        probabilities: float32, shape (rows, classes), in the order of ``classes``.
        classes: the labels' names.
    """

    ids: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    classes: Sequence[str]

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each row, int, shape (rows,)."""
        predicted: np.ndarray = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def correct(self) -> np.ndarray:
        """Whether each row's likeliest class is its label, bool, shape (rows,)."""
        correct: np.ndarray = self.predicted == self.labels
        return correct

    def take(self, rows: np.ndarray) -> Predictions:
        """Some of the rows, in the order of the given indices."""
        ids = [self.ids[row] for row in rows.tolist()]
        return Predictions(ids, self.labels[rows], self.probabilities[rows], self.classes)

    def save(self, path: Path) -> None:
        """Write as Parquet: id, label_id, probability (a list), with the classes in the schema's metadata."""
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
        """Read what :meth:`save` wrote.

        Raises:
            HeadwayError: the file is missing or damaged; the message names the stage that makes it.
        """
        table = read_table(path, made_by)
        if table.column_names != ["id", "label_id", "probability"]:
            raise HeadwayError(f"{path}: damaged (no predictions); make it again with `dvc repro --force {made_by}`")
        metadata = table.schema.metadata
        classes = [metadata[f"class {index}".encode()].decode() for index in range(table["probability"].type.list_size)]
        probabilities = table["probability"].combine_chunks().flatten().to_numpy().reshape(-1, len(classes))
        return cls(table["id"].to_pylist(), table["label_id"].to_numpy(), probabilities, classes)


def label_ids(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """True labels as indices into a model's classes, int, shape (rows,); -1 for a label that the model does not know."""
    known = {name: index for index, name in enumerate(classes)}
    return np.array([known.get(name, -1) for name in labels], dtype=np.int64)
