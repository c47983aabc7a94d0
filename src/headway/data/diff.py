"""The differences between two versions of the ingested rows, and the version that belongs to a git revision.

Rows are compared by text and class, which is the label after the version's own ``data.label_map``. Only a digest of 16 bytes is
kept of each text.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headway import yaml_files
from headway.data.identity import canonical_label
from headway.data.preparation.label_map import LabelMap
from headway.errors import HeadwayError, first_line
from headway.git import GitError, commit_hash
from headway.layout import Layout
from headway.tables import read_batches

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

ROWS_AT_ONCE = 2_000
MISSING_TEXT = bytes(16)


Row = tuple[bytes, str | None]
TEXT, LABEL = 0, 1  # cells of a row: the digest of its text, and its label
DROPPED = "\0dropped"  # compared by identity: no label of the data is this object


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


@dataclass(frozen=True)
class Version:
    """The ingested rows of a version of the data, and how its labels are mapped."""

    rows: Path  # ``rows.parquet``
    label_map: LabelMap = field(default_factory=lambda: LabelMap({}))


def compare(old: Version, new: Version) -> Difference:
    """Compare the rows of two versions, regardless of their order. Rows whose labels are dropped do not count.

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


def current_version(layout: Layout) -> Version:
    """The ingested rows of the project, and the label map of its params.yaml; HeadwayError if either cannot be read."""
    rows = layout.raw / "rows.parquet"
    if not rows.exists():
        raise HeadwayError(f"{rows}: missing; make it with `dvc repro ingest`, or fetch it with `dvc pull`")
    return Version(rows, LabelMap.from_tree(yaml_files.parse(yaml_files.read_text(layout.params), layout.params.name)))


@contextmanager
def version_at(revision: str, layout: Layout) -> Iterator[Version]:
    """The data of a git revision. Its rows, from DVC's cache or else its remote, are in a file that exists within the block.

    HeadwayError if the revision does not exist, has no dvc.lock, DVC cannot read its dvc.yaml or its params.yaml, its label map
    is contradictory, or its data cannot be found.
    """
    layout.scratch.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="revision-", dir=layout.scratch) as folder:
        target = Path(folder) / "rows.parquet"
        tree = _fetch(revision, layout, target)
        try:
            label_map = LabelMap.from_tree(tree)
        except HeadwayError as error:
            raise HeadwayError(f"{layout.params.name} of {revision}: {error}") from None
        yield Version(target, label_map)


def _fetch(revision: str, layout: Layout, target: Path) -> object:
    """Write the rows of a revision to a file; returns its parsed params.yaml, None if it has none."""
    from dvc.api import DVCFileSystem
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    rows = (layout.raw / "rows.parquet").relative_to(layout.root).as_posix()
    try:
        commit = commit_hash(layout.root, revision)
        remote = Config(str(layout.root / ".dvc"))["core"].get("remote")  # the current one, unknown to an old revision
        versioned = DVCFileSystem(repo=str(layout.root), rev=commit, remote=remote)
        _require_lock(versioned, revision, layout.lock.name)
        versioned.get_file(rows, str(target))
        params = layout.params.relative_to(layout.root).as_posix()
        text = versioned.read_text(params) if versioned.exists(params) else ""
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
    return yaml_files.parse(text, f"{layout.params.name} of {revision}") if text else None


def _require_lock(versioned: DVCFileSystem, revision: str, lock: str) -> None:
    """HeadwayError if a revision has no dvc.lock, or DVC cannot read its files. ``exists`` would not tell these apart."""
    from dvc.exceptions import DvcException

    try:
        versioned.info(lock)
    except FileNotFoundError:
        raise HeadwayError(f"revision {revision}: has no {lock}, which would identify its data") from None
    except DvcException as error:
        raise HeadwayError(
            f"revision {revision}: DVC cannot read its files ({first_line(error)}); compare with another revision"
        ) from None


def _rows(version: Version) -> Counter[Row]:
    """How often each text occurs with each class. Labels that the map does not name count as written."""
    rows = Counter[Row]()
    names: dict[str | None, str | None] = {None: None}
    for batch in read_batches(version.rows, made_by="ingest", rows=ROWS_AT_ONCE, columns=["text", "label"]):
        labels = batch["label"].to_pylist()
        for label in {*labels} - names.keys():
            is_named = canonical_label(label) in version.label_map
            names[label] = (version.label_map(label) or DROPPED) if is_named else label
        found = zip(map(_digest, batch["text"]), (names[label] for label in labels), strict=True)
        rows.update(row for row in found if row[LABEL] is not DROPPED)
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
