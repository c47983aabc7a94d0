"""Where rows end up: a split's Parquet file, or quarantine."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.preparation.validation import CODE, REASONS
from headway.data.text.splits import text_id

EXCERPT, EXAMPLES_OF_A_REASON = 300, 8
#: Rows that are gathered before they are written, for row groups of a useful size; fewer when their texts are long.
ROWS_AT_A_TIME, CHARACTERS_AT_A_TIME = 10_000, 20_000_000
SCHEMA = pa.schema({"id": pa.string(), "text": pa.large_string(), "label": pa.string(), "label_id": pa.int32()})


class SplitWriter:
    """Writes a split's rows to a Parquet file.

    Args:
        labels: the classes in their order.
        more: names of the columns that are carried along.

    Attributes:
        rows: how many stand in the file, once the block has ended.
    """

    def __init__(self, path: Path, labels: list[str], more: Sequence[str] = ()) -> None:
        self.rows = 0
        self._path = path
        self._labels = labels
        self._schema = pa.schema([*SCHEMA, *((name, pa.string()) for name in more)])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._texts: list[str] = []
        self._label_ids: list[int] = []
        self._more: dict[str, list[str | None]] = {name: [] for name in more}
        self._characters = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._flush()
        self._writer.close()
        self.rows = pq.read_metadata(self._path).num_rows

    def add(self, texts: list[str], label_ids: list[int], more: Mapping[str, list[str | None]] | None = None) -> None:
        """Take rows; an unlabelled one has the label id -1. ``more`` has their cells of each column that is carried along."""
        self._texts += texts
        self._label_ids += label_ids
        for name, cells in self._more.items():
            cells += (more or {})[name]
        self._characters += sum(map(len, texts))
        if len(self._texts) >= ROWS_AT_A_TIME or self._characters >= CHARACTERS_AT_A_TIME:
            self._flush()

    def _flush(self) -> None:
        if self._texts:
            ids = [text_id(text) for text in self._texts]
            names = [self._labels[index] if index >= 0 else None for index in self._label_ids]
            columns = {"id": ids, "text": self._texts, "label": names, "label_id": self._label_ids}
            self._writer.write_table(pa.table(columns | self._more, self._schema))
        self._texts, self._label_ids, self._characters = [], [], 0
        self._more = {name: [] for name in self._more}


class Origins:
    """In which file a row stands, and where there.

    Args:
        files: the manifest's, in the order in which they were read, each with its name and its number of rows.
    """

    def __init__(self, files: Sequence[Mapping[str, Any]]) -> None:
        self._names = [str(file["name"]) for file in files]
        self._starts = np.cumsum([0, *(file["rows"] for file in files)])

    def find(self, index: int) -> tuple[str, int]:
        """A file's name and the number, from 1, of the row in it that has this index among all rows."""
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._names[file], int(index - self._starts[file]) + 1


class Quarantine:
    """Writes the rows that are not kept to a CSV: file, row in that file, reason, label and how the text begins.

    Attributes:
        examples: the first ones of each reason, as dictionaries.
        rows: how many were written, labelled ones and unlabelled ones.
    """

    def __init__(self, path: Path, origins: Origins) -> None:
        self._origins = origins
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, ["file", "row", "reason", "label", "text"])
        self._writer.writeheader()
        self.examples: list[dict[str, Any]] = []
        self.rows = {"labelled": 0, "unlabelled": 0}
        self._seen: Counter[int] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, start: int, batch: pa.RecordBatch, reasons: np.ndarray, equal_to: np.ndarray) -> None:
        """Take those rows of a batch that have a reason.

        Args:
            start: index of the batch's first row among all rows.
            batch: ingested rows.
            reasons: their codes, shape (rows,).
            equal_to: indices of the rows that duplicates repeat, shape (rows,).
        """
        gone = np.flatnonzero((reasons > 0) & (reasons != CODE["left by sampling"]))
        for index, row in zip(gone, batch.take(pa.array(gone)).to_pylist(), strict=True):
            file, number = self._origins.find(start + int(index))
            text = row["text"] or ""
            entry = {
                "file": file,
                "row": number,
                "reason": self._in_words(row, reasons[index], equal_to[index], file),
                "label": row.get("label"),
                "text": text[:EXCERPT] + ("…" if len(text) > EXCERPT else ""),
            }
            self._writer.writerow(entry)
            self.rows["labelled" if "label" in row else "unlabelled"] += 1
            self._seen[reasons[index]] += 1
            if self._seen[reasons[index]] <= EXAMPLES_OF_A_REASON:
                self.examples.append(entry)

    def _in_words(self, row: dict[str, Any], code: int, equal_to: int, file: str) -> str:
        reason = REASONS[code]
        if row["problem"]:
            reason += f": {row['problem']}"
        elif code == CODE["duplicate"]:
            there, number = self._origins.find(equal_to)
            reason += f" of row {number}" + (f" of {there}" if there != file else "")
        return reason if "label" in row else f"unlabelled: {reason}"
