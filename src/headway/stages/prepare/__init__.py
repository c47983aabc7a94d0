"""Stage prepare: usable rows, once each, in three splits that share no text and that later rows cannot disturb."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headway.data.preparation.profile import bad_share, profile
from headway.data.preparation.scan import Scan, batches, scan
from headway.data.preparation.split_assignment import Assignment, assign
from headway.data.preparation.validation import BAD, CODE, in_order
from headway.data.preparation.writing import Origins, Quarantine, SplitWriter
from headway.data.text.splits import SPLITS, UNLABELLED
from headway.errors import HeadwayError
from headway.files import fresh_folder, read_json, write_json
from headway.layout import Layout
from headway.params import Params

MAX_CLASSES = 1_000
#: What of the profile is worth comparing from commit to commit.
METRICS = (
    *("rows_in", "rows_kept", "rows_quarantined", "rows_left_by_sampling", "bad_share"),
    *("duplicates", "leakage", "splits", "unlabelled_rows", "unlabelled_quarantined"),
)


def prepare(params: Params, layout: Layout) -> dict[str, Any]:
    """Write ``data/prepared``: a Parquet file a split (id, text, label, label_id, and the columns that
    ``data.slice_columns`` carries along), ``labels.json``, ``quarantine.csv``.

    Also write ``results/data``, the profile of the data with examples of quarantined rows, and the data metrics.

    Raises:
        HeadwayError: too many rows are bad, a split is empty, or the labels are no classes.
    """
    manifest = read_json(layout.raw / "manifest.json", made_by="ingest")
    scratch = layout.scratch / "prepare"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        scanned = scan(layout.raw, params, scratch / "bands")
        assignment = assign(scanned.rows, params.split, params.data.max_rows)
        origins = Origins(manifest["files"])
        _refuse_bad(scanned, assignment, params.data.max_bad_share, origins, layout)
        labels = _labels(scanned, assignment, params.split.first_rows_in_training)
        with fresh_folder(layout.prepared) as folder:
            write_json(folder / "labels.json", labels)
            examples = _write(scanned, assignment, labels, manifest, layout.raw, folder, params.data.slice_columns)
        result = profile(scanned, assignment, labels, params, manifest)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    with fresh_folder(layout.profile.parent) as folder:
        write_json(folder / layout.profile.name, result)
        write_json(folder / layout.quarantine_examples.name, examples)
    metrics = {name: result[name] for name in METRICS}
    write_json(layout.metrics("data"), metrics | {"classes": len(labels), "rare_classes": len(result["rare_classes"])})
    return result


def _refuse_bad(scanned: Scan, assignment: Assignment, allowed: float, origins: Origins, layout: Layout) -> None:
    """Stop when too many rows are bad, and leave them where they can be looked at."""
    labelled = scanned.rows.given != UNLABELLED
    share = bad_share(assignment, labelled)
    if share <= allowed:
        return
    path = layout.scratch / "quarantine.csv"
    with Quarantine(path, origins) as quarantine:
        for start, batch in batches(layout.raw):
            quarantine.add(start, batch, *_fate(assignment, start, batch))
    counts = {reason: int((assignment.reason[labelled] == CODE[reason]).sum()) for reason in BAD}
    told = ", ".join(f"{reason} {count:,}" for reason, count in counts.items() if count)
    quotes = any(re.match("unreadable: .*quote", example["reason"]) for example in quarantine.examples)
    advice = "; if quotes are letters in your file, set data.quoting to none" if quotes else ""
    raise HeadwayError(
        f"{share:.1%} of the {labelled.sum():,} rows cannot be used, more than data.max_bad_share ({allowed:.1%}): {told}; "
        f"each is listed in {os.path.relpath(path)}: mend them, or raise the share{advice}"
    )


def _labels(scanned: Scan, assignment: Assignment, first_rows: int) -> list[str]:
    """The classes, in their order.

    Raises:
        HeadwayError: there are fewer than two or too many, or a split has no row.
    """
    split, label = assignment.split, scanned.rows.label
    kept = (split >= 0) & (label >= 0)
    rows = int(kept.sum())
    names = {scanned.labels[code] for code in np.unique(label[kept])}
    if len(names) > MAX_CLASSES:
        raise HeadwayError(
            f"{len(names):,} different labels in {rows:,} rows, at most {MAX_CLASSES:,} are possible; "
            "is data.label_column the right column?"
        )
    if len(names) < 2:
        raise HeadwayError(f"the {rows:,} usable rows have {len(names)} label ({', '.join(names)!r}); expected two or more")
    for code, name in enumerate(SPLITS):
        if not (split == code).any():
            sizes = np.bincount(label[kept])
            left = int(np.maximum(sizes - first_rows, 0).sum())
            cause = (
                f", for the first {first_rows:,} of every class go to training, which leaves {left:,} rows; lower "
                "split.first_rows_in_training, or bring more rows"
            )
            raise HeadwayError(
                f"split.{name}: no row of {rows:,} falls into it"
                + (cause if left < rows / 2 else "; bring more rows or raise the share")
            )
    return in_order(names)


def _write(
    scanned: Scan,
    assignment: Assignment,
    labels: list[str],
    manifest: dict[str, Any],
    raw: Path,
    folder: Path,
    more: Sequence[str],
) -> list[dict[str, Any]]:
    """Put every row where it belongs, with the columns that it carries along; returns some of the quarantined ones.

    Raises:
        HeadwayError: other rows were written than ingest has read.
    """
    label_ids = {name: index for index, name in enumerate(labels)}
    by_code = np.array([label_ids.get(name, -1) for name in scanned.labels] + [-1])
    names = [*SPLITS, "unlabelled"] if (scanned.rows.given == UNLABELLED).any() else [*SPLITS]
    with ExitStack() as stack:
        quarantine = stack.enter_context(Quarantine(folder / "quarantine.csv", Origins(manifest["files"])))
        writers = [
            stack.enter_context(SplitWriter(folder / f"{name}.parquet", labels, more if name in SPLITS else ()))
            for name in names
        ]
        for start, batch in batches(raw):
            quarantine.add(start, batch, *_fate(assignment, start, batch))
            here = slice(start, start + batch.num_rows)
            for code, writer in enumerate(writers):
                chosen = np.flatnonzero(assignment.split[here] == code)
                if len(chosen):
                    rows = batch.take(pa.array(chosen))
                    cells = {name: rows[name].to_pylist() for name in more} if code != UNLABELLED else {}
                    writer.add(rows["text"].to_pylist(), by_code[scanned.rows.label[here][chosen]].tolist(), cells)
    sampled = int((assignment.reason == CODE["left by sampling"]).sum())
    split = sum(writer.rows for writer in writers[: len(SPLITS)])
    unlabelled = sum(writer.rows for writer in writers[len(SPLITS) :])
    _refuse_lost("rows", manifest["rows"], split + sampled, quarantine.rows["labelled"])
    _refuse_lost("unlabelled rows", manifest["unlabelled_rows"], unlabelled, quarantine.rows["unlabelled"])
    return quarantine.examples


def _refuse_lost(what: str, read: int, kept: int, quarantined: int) -> None:
    """Stop when not every row that was read was also written, once."""
    if read != kept + quarantined:
        raise HeadwayError(
            f"of {read:,} {what} that ingest has read, {kept:,} are kept and {quarantined:,} in quarantine: "
            f"{abs(read - kept - quarantined):,} were {'lost' if read > kept + quarantined else 'written twice'}; "
            "run `dvc repro --force ingest`, and if it comes again, report it: it is a mistake of Headway's"
        )


def _fate(assignment: Assignment, start: int, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
    """Why a batch's rows are not kept, and the indices of the rows that they repeat."""
    here = slice(start, start + batch.num_rows)
    return assignment.reason[here], assignment.equal_to[here]
