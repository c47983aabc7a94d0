"""Writers for the rows of a split, as Parquet, and for the rows that are left out, as a quarantine CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.preparation.ingested import Manifest
from headway.data.preparation.validation import CODE, REASONS
from headway.data.text.splits import text_id

EXCERPT_CHARACTERS, EXAMPLES_PER_REASON = 300, 8
#: Rows of a Parquet row group, or fewer when their texts are long.
GROUP_ROWS, GROUP_CHARACTERS = 10_000, 20_000_000
SCHEMA = pa.schema({"id": pa.string(), "text": pa.large_string(), "label": pa.string(), "label_id": pa.int32()})


class SplitWriter:
    """Writes the rows of a split to a Parquet file.

    Args:
        labels: the classes in the order of their ids.
        extra: names of the slice columns.

    Attributes:
        rows: number of rows in the file, known after the block ends.
    """

    def __init__(self, path: Path, labels: list[str], extra: Sequence[str] = ()) -> None:
        self.rows = 0
        self._path = path
        self._labels = labels
        self._schema = pa.schema([*SCHEMA, *((name, pa.string()) for name in extra)])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._texts: list[str] = []
        self._label_ids: list[int] = []
        self._extra: dict[str, list[str | None]] = {name: [] for name in extra}
        self._characters = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._flush()
        self._writer.close()
        self.rows = pq.read_metadata(self._path).num_rows

    def add(self, texts: list[str], label_ids: list[int], extra: Mapping[str, list[str | None]] | None = None) -> None:
        """Add rows. The label id of an unlabelled row is -1; ``extra`` has the cells of each slice column."""
        self._texts += texts
        self._label_ids += label_ids
        for name, cells in self._extra.items():
            cells += (extra or {})[name]
        self._characters += sum(map(len, texts))
        if len(self._texts) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._texts:
            ids = [text_id(text) for text in self._texts]
            names = [self._labels[index] if index >= 0 else None for index in self._label_ids]
            columns = {"id": ids, "text": self._texts, "label": names, "label_id": self._label_ids}
            self._writer.write_table(pa.table(columns | self._extra, self._schema))
        self._texts, self._label_ids, self._characters = [], [], 0
        self._extra = {name: [] for name in self._extra}


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that was left out: its file, its number in the file (from 1), the reason, its label, the beginning of its text."""

    file: str
    row: int
    reason: str
    label: str | None
    text: str


class Quarantine:
    """Writes the rows that are left out to a CSV file with the columns of :class:`QuarantinedRow`.

    Args:
        manifest: locates rows in the source's files.

    Attributes:
        examples: the first few rows of each reason.
        rows: number of rows written, labelled and unlabelled.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._manifest = manifest
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, [field.name for field in fields(QuarantinedRow)])
        self._writer.writeheader()
        self.examples: list[QuarantinedRow] = []
        self.rows = {"labelled": 0, "unlabelled": 0}
        self._seen: Counter[int] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, start: int, batch: pa.RecordBatch, reasons: np.ndarray, duplicate_of: np.ndarray) -> None:
        """Add the rows of a batch that have a reason; rows that were left out of the sample are skipped.

        Args:
            start: index of the batch's first row among all rows.
            batch: ingested rows.
            reasons: why each row was left out, 0 if it was kept, shape (rows,).
            duplicate_of: for duplicates, index of the row with the same text among all rows, shape (rows,).
        """
        left_out = np.flatnonzero((reasons > 0) & (reasons != CODE["not sampled"]))
        for index, cells in zip(left_out, batch.take(pa.array(left_out)).to_pylist(), strict=True):
            file, number = self._manifest.locate(start + int(index))
            text = cells["text"] or ""
            row = QuarantinedRow(
                file=file,
                row=number,
                reason=self._describe(cells, reasons[index], int(duplicate_of[index]), file),
                label=cells.get("label"),
                text=text[:EXCERPT_CHARACTERS] + ("…" if len(text) > EXCERPT_CHARACTERS else ""),
            )
            self._writer.writerow(asdict(row))
            self.rows["labelled" if "label" in cells else "unlabelled"] += 1
            self._seen[reasons[index]] += 1
            if self._seen[reasons[index]] <= EXAMPLES_PER_REASON:
                self.examples.append(row)

    def _describe(self, cells: dict[str, Any], code: int, duplicate_of: int, file: str) -> str:
        reason = REASONS[code]
        if cells["problem"]:
            reason += f": {cells['problem']}"
        elif code == CODE["duplicate"]:
            other_file, number = self._manifest.locate(duplicate_of)
            reason += f" of row {number}" + (f" of {other_file}" if other_file != file else "")
        return reason if "label" in cells else f"unlabelled: {reason}"
