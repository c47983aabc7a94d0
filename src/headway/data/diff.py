"""The differences between two versions of the ingested rows, and the version that belongs to a git revision.

Rows are compared by text and label. Only a digest of 16 bytes is kept of each text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError, first_line
from headway.git import GitError, commit_hash
from headway.layout import Layout
from headway.tables import read_batches

ROWS_AT_ONCE = 2_000
MISSING_TEXT = bytes(16)


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

    Raises:
        HeadwayError: a file is missing or damaged.
    """
    codes: dict[str | None, int] = {None: 0}
    texts_before, labels_before = _read(old, codes)
    texts_after, labels_after = _read(new, codes)
    before, after = len(labels_before), len(labels_after)

    text = np.unique(np.concatenate([texts_before, texts_after]), return_inverse=True)[1]  # (before + after,)
    row = text * len(codes) + np.concatenate([labels_before, labels_after])
    pairs, pair = np.unique(row, return_inverse=True)  # a pair is a text with a label
    old_counts, new_counts = (np.bincount(part, minlength=len(pairs)) for part in (pair[:before], pair[before:]))
    same = np.minimum(old_counts, new_counts)
    text_of_pair = pairs // len(codes)
    old_rest, new_rest = (np.bincount(text_of_pair, counts - same) for counts in (old_counts, new_counts))
    unchanged, relabelled = int(same.sum()), int(np.minimum(old_rest, new_rest).sum())
    return Difference(
        before=before,
        after=after,
        unchanged=unchanged,
        relabelled=relabelled,
        added=after - unchanged - relabelled,
        removed=before - unchanged - relabelled,
        labels=_label_changes(codes, labels_before, labels_after),
    )


@contextmanager
def rows_at(revision: str, layout: Layout) -> Iterator[Path]:
    """The ingested rows of a git revision, from DVC's cache or else its remote, in a file that exists within the block.

    Args:
        revision: a commit's hash, a branch, a tag, ``HEAD~1``.

    Raises:
        HeadwayError: the revision does not exist, has no dvc.lock, or its data cannot be found.
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


def _read(path: Path, codes: dict[str | None, int]) -> tuple[np.ndarray, np.ndarray]:
    """Digests of the texts, bytes S16, and codes of the labels, int64, both of shape (rows,); new labels get new codes."""
    digests, labels = bytearray(), [np.zeros(0, dtype=np.int64)]
    for batch in read_batches(path, made_by="ingest", rows=ROWS_AT_ONCE, columns=["text", "label"]):
        digests += b"".join(map(_digest, batch["text"]))
        labels.append(np.array([codes.setdefault(label, len(codes)) for label in batch["label"].to_pylist()], np.int64))
    return np.frombuffer(bytes(digests), dtype="S16"), np.concatenate(labels)


def _digest(text: pa.LargeStringScalar) -> bytes:
    buffer = text.as_buffer()
    return MISSING_TEXT if buffer is None else hashlib.sha256(buffer).digest()[:16]


def _label_changes(codes: dict[str | None, int], before: np.ndarray, after: np.ndarray) -> list[LabelChange]:
    old, new = (np.bincount(labels, minlength=len(codes)) for labels in (before, after))
    in_order = sorted(codes.items(), key=lambda item: (item[0] is not None, item[0] or ""))
    return [LabelChange(label, int(old[code]), int(new[code])) for label, code in in_order if old[code] or new[code]]
