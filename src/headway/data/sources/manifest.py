"""What was ingested: enough to tell whether two data sets are the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from headway.data.sources.source import FileInfo, Source
from headway.data.sources.streams import kind_of
from headway.errors import HeadwayError

MOST_LABELS = 100_000


@dataclass(frozen=True)
class CorrectionCounts:
    """What ``data.corrections`` changed.

    Attributes:
        files: names of the lists of corrections.
        texts: texts for which a right label was filled in.
        unmatched: of these, texts without a row that has the label that the list gives, or the right one.
        rows: rows whose label was replaced.
        rows_by_label: these rows by their right label.
        rows_by_former_label: these rows by the label that they had.
    """

    files: list[str]
    texts: int
    unmatched: int
    rows: int
    rows_by_label: dict[str, int]
    rows_by_former_label: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """Facts about a source and its rows. The same data give the same manifest.

    Attributes:
        source: kind and name of the source.
        version: of the package, or revision on the Hub; "" for files.
        sha256: hex digest of the source's bytes; "" for the Hub, where the revision identifies them.
        rows_sha256: hex digest of the texts and labels read.
        rows: rows with labels, including unreadable ones.
        unreadable: rows with labels that could not be read.
        unlabelled_rows: rows of files or splits without labels.
        label_counts: readable rows per label as written or corrected; rows without a label count under "".
        files: facts about each file or split.
        columns_that_differ: per file with labels, columns that only it or only the first file has.
        ignored_files: files of the folder that were not read.
        ignored_data_files: ignored files in a format that Headway reads.
        corrections: what ``data.corrections`` changed; None if it is not set.
    """

    source: str
    version: str
    sha256: str
    rows_sha256: str
    rows: int
    unreadable: int
    unlabelled_rows: int
    label_counts: dict[str, int]
    files: list[FileInfo]
    columns_that_differ: dict[str, list[str]]
    ignored_files: list[str]
    ignored_data_files: list[str]
    corrections: CorrectionCounts | None = None


class Tally:
    """Counts and hashes rows as they pass."""

    def __init__(self) -> None:
        self.rows = self.unreadable = self.unlabelled_rows = 0
        self.labels: Counter[str] = Counter()
        self._digest = hashlib.sha256()

    def add(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add a batch of labelled rows, and return it; HeadwayError if there are too many labels."""
        texts, labels = ([cell or "" for cell in batch.column(name).to_pylist()] for name in ("text", "label"))
        for cells in zip(texts, labels, strict=True):
            for cell in cells:
                content = cell.encode()  # with its length before it, so that different rows cannot run into the same bytes
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
        return batch

    def manifest(self, source: Source) -> Manifest:
        """The manifest of a source, after all of its rows were added."""
        labelled = [part.info for part in source.labelled]
        files = [*labelled, *(part.info for part in source.unlabelled)]
        first = set(labelled[0].columns) if labelled else set()
        return Manifest(
            source=source.name,
            version=source.version,
            sha256=_sha256(files),
            rows_sha256=self._digest.hexdigest(),
            rows=self.rows,
            unreadable=self.unreadable,
            unlabelled_rows=self.unlabelled_rows,
            label_counts=dict(sorted(self.labels.items())),
            files=files,
            columns_that_differ={
                file.name: sorted(first ^ set(file.columns)) for file in labelled if set(file.columns) != first
            },
            ignored_files=list(source.ignored_files),
            ignored_data_files=[name for name in source.ignored_files if kind_of(name)],
        )


def _sha256(files: Sequence[FileInfo]) -> str:
    """Hex SHA-256 of the only file's bytes, or of the names and hashes of several; "" without files."""
    hashed = [file for file in files if file.sha256]
    if len(hashed) == 1:
        return hashed[0].sha256
    listed = "".join(f"{file.name}\0{file.sha256}\n" for file in hashed)
    return hashlib.sha256(listed.encode()).hexdigest() if hashed else ""
