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
from headway.data.preparation.split_assignment import Assignment
from headway.data.preparation.validation import CODE, REASONS
from headway.data.text.excerpts import excerpt
from headway.data.text.splits import text_id
from headway.data.text.spreadsheets import spreadsheet_cell
from headway.params import TIME_COLUMN

EXCERPT_CHARACTERS, TIME_CHARACTERS, EXAMPLES_PER_REASON = 300, 40, 8
SCHEMA = pa.schema({"id": pa.string(), "text": pa.large_string(), "label": pa.string(), "label_id": pa.int32()})


class SplitWriter:
    """Writes the rows of a split to a Parquet file."""

    def __init__(self, path: Path, extra: Sequence[pa.Field] = ()) -> None:
        self.rows = 0  # in the file, known after the block ends
        self._path = path
        self._schema = pa.schema([*SCHEMA, *extra])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()
        self.rows = pq.read_metadata(self._path).num_rows

    def add(
        self, texts: list[str], labels: list[str | None], label_ids: list[int], extra: Mapping[str, Any] | None = None
    ) -> None:
        """Write rows as a row group.

        Args:
            labels: names of the classes, None for unlabelled rows.
            label_ids: -1 for unlabelled rows, and for test rows of a class without training rows.
            extra: the cells of each further column.
        """
        columns = {"id": list(map(text_id, texts)), "text": texts, "label": labels, "label_id": label_ids}
        self._writer.write_table(pa.table({**columns, **(extra or {})}, self._schema))


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

    People open it in a spreadsheet, so a cell that would be calculated begins with an apostrophe; see
    :func:`headway.data.text.spreadsheets.spreadsheet_cell`.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._manifest = manifest
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, [field.name for field in fields(QuarantinedRow)])
        self._writer.writeheader()
        self.examples: list[QuarantinedRow] = []  # the first few of each reason
        self.rows = {"labelled": 0, "unlabelled": 0}  # written
        self._seen: Counter[int] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, start: int, batch: pa.RecordBatch, assignment: Assignment) -> None:
        """Add the rows of a batch, which starts at row ``start``, that were left out for another reason than sampling."""
        reasons = assignment.reason[start : start + batch.num_rows]
        left_out = np.flatnonzero((reasons > 0) & (reasons != CODE["not sampled"]))
        for index, cells in zip(left_out, batch.take(pa.array(left_out)).to_pylist(), strict=True):
            file, number = self._manifest.locate(start + int(index))
            text = cells["text"] or ""
            row = QuarantinedRow(
                file=file,
                row=number,
                reason=self._describe(cells, reasons[index], int(assignment.duplicate_of[start + index]), file),
                label=cells.get("label"),
                text=excerpt(text, EXCERPT_CHARACTERS),
            )
            self._writer.writerow({name: _for_a_person(value) for name, value in asdict(row).items()})
            self.rows["labelled" if "label" in cells else "unlabelled"] += 1
            self._seen[reasons[index]] += 1
            if self._seen[reasons[index]] <= EXAMPLES_PER_REASON:
                self.examples.append(row)

    def _describe(self, cells: dict[str, Any], code: int, duplicate_of: int, file: str) -> str:
        reason = REASONS[code]
        if cells["problem"]:
            reason += f": {cells['problem']}"
        elif code == CODE["unreadable time"]:
            reason += f": {excerpt(cells[TIME_COLUMN], TIME_CHARACTERS)}"
        elif code == CODE["duplicate"]:
            other_file, number = self._manifest.locate(duplicate_of)
            reason += f" of row {number}" + (f" of {other_file}" if other_file != file else "")
        return reason if "label" in cells else f"unlabelled: {reason}"


def _for_a_person(value: Any) -> Any:
    return spreadsheet_cell(value) if isinstance(value, str) else value
