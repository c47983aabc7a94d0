"""The differences between two versions of the ingested rows, and the version that belongs to a git revision.

Rows are compared by text and label. Only a digest of 16 bytes is kept of each text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from headway.errors import HeadwayError, first_line
from headway.git import GitError, commit_hash
from headway.layout import Layout
from headway.tables import read_batches

ROWS_AT_ONCE = 2_000
MISSING_TEXT = bytes(16)


Row = tuple[bytes, str | None]
TEXT, LABEL = 0, 1  # cells of a row: the digest of its text, and its label


@dataclass(frozen=True)
class LabelChange:
    """Rows with a label (None: without one) before and after."""

    label: str | None
    before: int
    after: int


@dataclass(frozen=True)
class Difference:
    """Numbers of rows: before = unchanged + relabelled + removed, and after = unchanged + relabelled + added."""

    before: int
    after: int
    unchanged: int  # same text and label
    relabelled: int  # same text, another label
    added: int  # texts that only one version has
    removed: int
    labels: list[LabelChange]  # each label's rows, sorted by label


def compare(old: Path, new: Path) -> Difference:
    """Compare two versions of ``rows.parquet``, regardless of the order of their rows.

    Equal rows are counted one by one: if one of three remains, two were removed.
    """
    before, after = _rows(old), _rows(new)
    unchanged = (before & after).total()
    relabelled = (_totals(before - after, TEXT) & _totals(after - before, TEXT)).total()
    labels_before, labels_after = _totals(before, LABEL), _totals(after, LABEL)
    labels = sorted(labels_before | labels_after, key=lambda label: (label is not None, label or ""))
    return Difference(
        before=before.total(),
        after=after.total(),
        unchanged=unchanged,
        relabelled=relabelled,
        added=after.total() - unchanged - relabelled,
        removed=before.total() - unchanged - relabelled,
        labels=[LabelChange(label, labels_before[label], labels_after[label]) for label in labels],
    )


@contextmanager
def rows_at(revision: str, layout: Layout) -> Iterator[Path]:
    """The ingested rows of a git revision, from DVC's cache or else its remote, in a file that exists within the block.

    HeadwayError if the revision does not exist, has no dvc.lock, or its data cannot be found.
    """
    layout.scratch.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="revision-", dir=layout.scratch) as folder:
        target = Path(folder) / "rows.parquet"
        _fetch(revision, layout, target)
        yield target


def _fetch(revision: str, layout: Layout, target: Path) -> None:
    from dvc.api import DVCFileSystem
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    rows = (layout.raw / "rows.parquet").relative_to(layout.root).as_posix()
    try:
        commit = commit_hash(layout.root, revision)
        remote = Config(str(layout.root / ".dvc"))["core"].get("remote")  # the current one, unknown to an old revision
        versioned = DVCFileSystem(repo=str(layout.root), rev=commit, remote=remote)
        if not versioned.exists(layout.lock.name):
            raise HeadwayError(f"revision {revision}: has no {layout.lock.name}, which would identify its data")
        versioned.get_file(rows, str(target))
    except GitError as error:
        raise HeadwayError(f"revision {revision}: {error}; `git log --oneline` lists the commits") from None
    except (FileNotFoundError, DataIndexDirError):
        raise HeadwayError(
            f"revision {revision}: its {rows} is neither in DVC's cache nor on a remote; run `dvc push` on the machine "
            "that has it, or check the revision out and run `dvc repro ingest`"
        ) from None
    except (DvcException, OSError) as error:
        raise HeadwayError(
            f"revision {revision}: its {rows} cannot be fetched ({first_line(error)}); check `dvc remote list`"
        ) from None


def _rows(path: Path) -> Counter[Row]:
    """How often each text occurs with each label."""
    rows = Counter[Row]()
    for batch in read_batches(path, made_by="ingest", rows=ROWS_AT_ONCE, columns=["text", "label"]):
        rows.update(zip(map(_digest, batch["text"]), batch["label"].to_pylist(), strict=True))
    return rows


def _digest(text: pa.LargeStringScalar) -> bytes:
    buffer = text.as_buffer()
    return MISSING_TEXT if buffer is None else hashlib.sha256(buffer).digest()[:16]


def _totals(rows: Counter[Row], cell: int) -> Counter[Any]:
    """The number of rows with each text, or with each label."""
    totals = Counter[Any]()
    for row, count in rows.items():
        totals[row[cell]] += count
    return totals
