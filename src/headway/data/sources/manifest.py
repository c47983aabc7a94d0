"""What was ingested: enough to tell whether two data sets are the same one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from headway.data.sources.files import sha256_of_files
from headway.data.sources.source import Facts, Source
from headway.errors import HeadwayError

MOST_LABELS = 100_000


@dataclass(frozen=True)
class Manifest:
    """Facts about a source and its rows; the same data give the same manifest.

    Attributes:
        source: kind and name of the source.
        version: of the package, revision on the Hub, or "" for files.
        sha256: of the source's bytes as they were read; "" for the Hub, where the revision says it.
        rows_sha256: of the texts and labels that were taken from it.
        rows: with labels or meant to have some; of these ``unreadable`` could not be read.
        unlabelled_rows: rows from what is said to have no labels.
        label_counts: readable rows per label, as written in the source; a missing label counts under "".
        files: what is known of each file or split.
        columns_that_differ: by file with labels, the columns that it has and the first one has not, or the other way round.
        left_aside: files of the folder that were not read.
        data_left_aside: those of them that are of a known kind.
    """

    source: str
    version: str
    sha256: str
    rows_sha256: str
    rows: int
    unreadable: int
    unlabelled_rows: int
    label_counts: dict[str, int]
    files: list[Facts]
    columns_that_differ: dict[str, list[str]]
    left_aside: list[str]
    data_left_aside: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Tally:
    """Counts and hashes rows while they stream by."""

    def __init__(self) -> None:
        self.rows = self.unreadable = self.unlabelled_rows = 0
        self.labels: Counter[str] = Counter()
        self._digest = hashlib.sha256()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in a batch of labelled rows.

        Raises:
            HeadwayError: the labels are no classes, by their number.
        """
        texts, labels = _strings(batch.column("text")), _strings(batch.column("label"))
        for cells in zip(texts, labels, strict=True):
            for cell in cells:
                # With its length before it, so that no two data sets read alike.
                content = cell.encode()
                self._digest.update(len(content).to_bytes(8, "big") + content)
        readable = [label for label, problem in zip(labels, batch.column("problem").to_pylist(), strict=True) if not problem]
        self.rows += batch.num_rows
        self.unreadable += batch.num_rows - len(readable)
        self.labels.update(readable)
        if len(self.labels) > MOST_LABELS:
            raise HeadwayError(
                f"data.label_column: more than {MOST_LABELS:,} different labels by row {self.rows:,}; "
                "name the column of the classes"
            )

    def manifest(self, source: Source) -> Manifest:
        """What was read from a source, once all its rows went by."""
        files = [part.facts for part in (*source.labelled, *source.unlabelled)]
        return Manifest(
            source=source.name,
            version=source.version,
            sha256=sha256_of_files(files),
            rows_sha256=self._digest.hexdigest(),
            rows=self.rows,
            unreadable=self.unreadable,
            unlabelled_rows=self.unlabelled_rows,
            label_counts=dict(sorted(self.labels.items())),
            files=files,
            columns_that_differ=_columns_that_differ([part.facts for part in source.labelled]),
            left_aside=list(source.left_aside),
            data_left_aside=list(source.data_left_aside),
        )


def _columns_that_differ(files: Sequence[Facts]) -> dict[str, list[str]]:
    first = set(files[0].columns) if files else set()
    return {file.name: sorted(first.symmetric_difference(file.columns)) for file in files if set(file.columns) != first}


def _strings(column: pa.Array) -> Iterable[str]:
    return ["" if cell is None else cell for cell in column.to_pylist()]
