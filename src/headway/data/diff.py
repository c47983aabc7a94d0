"""What changed between two versions of the ingested rows, and fetching the version that a git revision stands for.

Rows are told apart by their text, as a digest of 16 bytes: no more than that and a label's number is held of a row.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError, first_line
from headway.layout import Layout
from headway.tables import read_batches

BATCH = 2_000
MISSING_TEXT = bytes(16)


def compare(old: Path, new: Path) -> dict[str, Any]:
    """Rows of one version that the other lacks, by text and label; their order does not matter.

    A text that occurs several times is as many rows: of three equal rows of which one is left, two are removed.

    Args:
        old: a ``rows.parquet`` that ``ingest`` made.
        new: another.

    Returns:
        rows_before and rows_after; unchanged (same text and label), relabelled (same text, another label), added and
        removed, so that before = unchanged + relabelled + removed and after = unchanged + relabelled + added; labels: a
        dictionary for each, sorted, with label (None: missing), before and after.

    Raises:
        HeadwayError: a file is missing or damaged.
    """
    codes: dict[str | None, int] = {None: 0}
    texts_before, labels_before = _read(old, codes)
    texts_after, labels_after = _read(new, codes)
    before, after = len(labels_before), len(labels_after)

    text = np.unique(np.concatenate([texts_before, texts_after]), return_inverse=True)[1]  # (before + after,)
    row = text * len(codes) + np.concatenate([labels_before, labels_after])
    kinds, kind = np.unique(row, return_inverse=True)  # a kind is a text with a label
    old_counts, new_counts = (np.bincount(part, minlength=len(kinds)) for part in (kind[:before], kind[before:]))
    same = np.minimum(old_counts, new_counts)
    text_of_kind = kinds // len(codes)
    old_rest, new_rest = (np.bincount(text_of_kind, counts - same) for counts in (old_counts, new_counts))
    unchanged, relabelled = int(same.sum()), int(np.minimum(old_rest, new_rest).sum())
    return {
        "rows_before": before,
        "rows_after": after,
        "unchanged": unchanged,
        "relabelled": relabelled,
        "added": after - unchanged - relabelled,
        "removed": before - unchanged - relabelled,
        "labels": _label_counts(codes, labels_before, labels_after),
    }


@contextmanager
def rows_at(revision: str, layout: Layout) -> Iterator[Path]:
    """The ingested rows as a git revision has them, from DVC's cache or else its remote: a file that goes when the block ends.

    Args:
        revision: whatever git takes for a commit: a hash, a branch, a tag, ``HEAD~1``.

    Raises:
        HeadwayError: there is no such revision, it has no dvc.lock, or its data are to be had nowhere.
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

    commit = _commit(revision, layout.root)
    rows = (layout.raw / "rows.parquet").relative_to(layout.root).as_posix()
    try:
        remote = Config(str(layout.root / ".dvc"))["core"].get("remote")  # today's, which the revision need not know
        versioned = DVCFileSystem(repo=str(layout.root), rev=commit, remote=remote)
        if not versioned.exists(layout.lock.name):
            raise HeadwayError(f"revision {revision}: it has no {layout.lock.name}, so nothing says what its data were")
        versioned.get_file(rows, str(target))
    except (FileNotFoundError, DataIndexDirError):
        raise HeadwayError(
            f"revision {revision}: its {rows} is neither in DVC's cache nor to be had from a remote; `dvc push` it where it is, "
            "or check the revision out and run `dvc repro ingest`"
        ) from None
    except (DvcException, OSError) as error:
        raise HeadwayError(
            f"revision {revision}: its {rows} cannot be fetched ({first_line(error)}); see `dvc remote list`"
        ) from None


def _read(path: Path, codes: dict[str | None, int]) -> tuple[np.ndarray, np.ndarray]:
    """Digests of the texts, bytes S16, and the labels' numbers, int64, both of shape (rows,); new labels get new numbers."""
    digests, labels = bytearray(), [np.zeros(0, dtype=np.int64)]
    for batch in read_batches(path, made_by="ingest", rows=BATCH, columns=["text", "label"]):
        digests += b"".join(_digest(text) for text in batch["text"])
        numbers = [codes.setdefault(label, len(codes)) for label in batch["label"].to_pylist()]
        labels.append(np.array(numbers, dtype=np.int64))
    return np.frombuffer(bytes(digests), dtype="S16"), np.concatenate(labels)


def _digest(text: pa.LargeStringScalar) -> bytes:
    buffer = text.as_buffer()
    return MISSING_TEXT if buffer is None else hashlib.sha256(buffer).digest()[:16]


def _label_counts(codes: dict[str | None, int], before: np.ndarray, after: np.ndarray) -> list[dict[str, Any]]:
    counts = [np.bincount(labels, minlength=len(codes)) for labels in (before, after)]
    return [
        {"label": label, "before": int(counts[0][code]), "after": int(counts[1][code])}
        for label, code in sorted(codes.items(), key=lambda item: (item[0] is not None, item[0] or ""))
        if counts[0][code] or counts[1][code]
    ]


def _commit(revision: str, root: Path) -> str:
    """The hash of the commit that a revision names."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise HeadwayError("git is not installed; without it there are no revisions to compare") from None
    if done.returncode:
        reason = first_line(done.stderr.strip() or "no such commit, branch or tag")
        raise HeadwayError(f"revision {revision}: {reason}; `git log --oneline` lists what there is")
    return done.stdout.strip()
