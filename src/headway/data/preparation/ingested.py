"""The output of the stage ingest, as prepare reads it: rows in batches, and the manifest."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from headway.errors import StageOutputError
from headway.files import read_json
from headway.tables import read_batches

BATCH_ROWS = 2_000


class Record(BaseModel):
    """Facts about the data; when they are read, keys that prepare does not need are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SourceFile(Record):
    """A file or split that was ingested."""

    name: str  # below the source's folder
    rows: int
    encoding: str  # Python's name of a text file's encoding, "" for other files
    encoding_guessed: bool  # whether the encoding was guessed from letter frequencies
    delimiter: str  # of a CSV file, otherwise ""
    unterminated_label: str | None  # label in a CSV's last line if it has no end ("" if unreadable), else None


class CorrectionCounts(Record):
    """What ``data.corrections`` changed; see :class:`headway.data.sources.manifest.CorrectionCounts`."""

    files: list[str]
    texts: int
    unmatched: int
    rows: int
    rows_by_label: dict[str, int]
    rows_by_former_label: dict[str, int]


class Manifest(Record):
    """Facts about the source; see :class:`headway.data.sources.manifest.Manifest`, whose JSON this reads."""

    source: str
    version: str
    files: list[SourceFile]
    rows: int
    unlabelled_rows: int
    label_counts: dict[str, int]
    columns_that_differ: dict[str, list[str]]
    ignored_data_files: list[str]
    corrections: CorrectionCounts | None = None  # if ``data.corrections`` is not set

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest in the folder that ingest wrote; StageOutputError if it is missing or damaged."""
        path = folder / "manifest.json"
        try:
            return cls.model_validate(read_json(path, made_by="ingest"))
        except ValidationError as error:
            problem = error.errors()[0]
            damage = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            raise StageOutputError(path, "ingest", damage) from None

    def locate(self, index: int) -> tuple[str, int]:
        """The file that holds the row with an index among all rows, and the row's number in that file, counted from 1."""
        file = bisect_right(self._starts, index) - 1
        return self.files[file].name, index - self._starts[file] + 1

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate((file.rows for file in self.files), initial=0))


def batches(folder: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """All ingested rows, each batch with the index of its first row: test files first, unlabelled rows last."""
    start = 0
    for name in ("rows.parquet", "unlabelled.parquet"):
        if (folder / name).exists() or name == "rows.parquet":
            for batch in read_batches(folder / name, made_by="ingest", rows=BATCH_ROWS):
                yield start, batch
                start += batch.num_rows
