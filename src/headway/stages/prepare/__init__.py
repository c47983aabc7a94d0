"""Stage prepare: keeps each usable row once, and splits the rows so that no text, or near-duplicate of one, is in two splits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from headway.data.preparation.ingested import Manifest, batches
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.profile import DataProfile, bad_share, profile
from headway.data.preparation.scan import Scan, scan
from headway.data.preparation.scores import score_in
from headway.data.preparation.split_assignment import Assignment, assign
from headway.data.preparation.text_examples import ExampleTexts
from headway.data.preparation.validation import BAD, CODE, sort_labels
from headway.data.preparation.writing import Quarantine, QuarantinedRow, SplitWriter
from headway.data.text.splits import SPLITS, UNLABELLED
from headway.errors import HeadwayError
from headway.files import fresh_folder, write_json
from headway.layout import Layout
from headway.params import Params

MAX_CLASSES = 1_000


def prepare(params: Params, layout: Layout) -> DataProfile:
    """Write ``data/prepared``, the data metrics, and the data profile with examples of texts and of quarantined rows
    (``results/data``).

    ``data/prepared`` has a Parquet file per split (id, text, label, label_id, and the columns in ``data.slice_columns``),
    ``labels.json`` with the classes in the order of their ids, and ``quarantine.csv`` with the rows that were left out.

    Labels are renamed, merged and dropped by ``data.label_map`` first. HeadwayError if too many rows are bad, a split is empty,
    the number of classes is out of range, or the labels are a score.
    """
    manifest = Manifest.read(layout.raw)
    label_map = LabelMap(params.data.label_map)
    layout.scratch.mkdir(parents=True, exist_ok=True)
    spool = layout.scratch / "bands"
    try:
        scanned = scan(layout.raw, params, label_map, spool)
        _require_classes(scanned, params.data.label_column)
        assignment = assign(scanned.rows, params.split, params.data.max_rows)
        _require_few_bad_rows(scanned, assignment, params.data.max_bad_share, manifest, layout)
        labels = _classes(scanned, assignment, label_map, params.split.first_rows_in_training)
        with fresh_folder(layout.prepared) as folder:
            write_json(folder / "labels.json", labels)
            texts = ExampleTexts(scanned, assignment, labels)
            quarantined = _write(scanned, assignment, labels, manifest, layout.raw, folder, params.data.slice_columns, texts)
        result = profile(scanned, assignment, labels, label_map, params, manifest)
    finally:
        spool.unlink(missing_ok=True)
    with fresh_folder(layout.profile.parent) as folder:
        write_json(folder / layout.profile.name, result.model_dump())
        write_json(folder / layout.quarantine_examples.name, [asdict(row) for row in quarantined])
        write_json(folder / layout.text_examples.name, texts.examples().model_dump())
    write_json(layout.metrics("data"), result.metrics())
    return result


def _require_classes(scanned: Scan, column: str) -> None:
    """Refuse labels that are a score. Their rows would else be refused for other reasons, such as conflicting labels."""
    usable = scanned.rows.label[(scanned.rows.reason == 0) & (scanned.rows.label >= 0)]
    rows = np.bincount(usable, minlength=len(scanned.labels)).tolist()
    if score := score_in(dict(zip(scanned.labels, rows, strict=True))):
        raise HeadwayError(f"data.label_column: {score.describe(column)}")


def _require_few_bad_rows(
    scanned: Scan, assignment: Assignment, max_bad_share: float, manifest: Manifest, layout: Layout
) -> None:
    """Refuse a share of bad rows above the limit, after writing all rows that were left out to the scratch folder."""
    labelled = scanned.rows.labelled
    share = bad_share(assignment, labelled)
    if share <= max_bad_share:
        return
    path = layout.scratch / "quarantine.csv"
    with Quarantine(path, manifest) as quarantine:
        for start, batch in batches(layout.raw):
            quarantine.add(start, batch, assignment)
    counts = {reason: int((assignment.reason[labelled] == CODE[reason]).sum()) for reason in BAD}
    listed = ", ".join(f"{reason} {count:,}" for reason, count in counts.items() if count)
    about_quotes = any(row.reason.startswith("unreadable") and "quote" in row.reason for row in quarantine.examples)
    advice = "; if quotes are ordinary characters in your file, set data.quoting to none" if about_quotes else ""
    raise HeadwayError(
        f"{share:.1%} of the {labelled.sum():,} rows cannot be used, more than data.max_bad_share ({max_bad_share:.1%}): "
        f"{listed}; {os.path.relpath(path)} lists them: correct them, or raise data.max_bad_share{advice}"
    )


def _classes(scanned: Scan, assignment: Assignment, label_map: LabelMap, first_rows: int) -> list[str]:
    """The classes of the kept rows, in the order of their ids: two or more, and every split has rows."""
    split, label = assignment.split, scanned.rows.label
    kept = (split >= 0) & (label >= 0)
    rows = int(kept.sum())
    names = {scanned.labels[code] for code in np.unique(label[kept])}
    if len(names) > MAX_CLASSES:
        raise HeadwayError(
            f"{len(names):,} different labels in {rows:,} rows, expected at most {MAX_CLASSES:,}; "
            "is data.label_column the right column?"
        )
    if len(names) < 2:
        found = f"only the label {next(iter(names))!r}" if names else "no label"
        advice = "add rows of other classes" + (
            ", or change data.label_map, which merges and drops labels" if label_map else ""
        )
        raise HeadwayError(f"{found} in {rows:,} usable rows, expected two or more labels; {advice}")
    for code, name in enumerate(SPLITS):
        if not (split == code).any():
            free = int(np.maximum(np.bincount(label[kept]) - first_rows, 0).sum())
            if free < rows / 2:
                raise HeadwayError(
                    f"split.{name}: none of {rows:,} rows is in this split, because the first {first_rows:,} of every class go "
                    f"to training, which leaves {free:,}; lower split.first_rows_in_training, or add rows"
                )
            raise HeadwayError(f"split.{name}: none of {rows:,} rows is in this split; add rows, or raise its share")
    return sort_labels(names)


def _write(
    scanned: Scan,
    assignment: Assignment,
    labels: list[str],
    manifest: Manifest,
    raw: Path,
    folder: Path,
    slice_columns: Sequence[str],
    examples: ExampleTexts,
) -> list[QuarantinedRow]:
    """Write every row that ingest read to its split or to quarantine, and collect examples. Returns quarantined rows."""
    label_ids = {name: index for index, name in enumerate(labels)}
    id_of_code = np.array([label_ids.get(name, -1) for name in scanned.labels] + [-1])
    files = {folder / f"{name}.parquet": slice_columns for name in SPLITS}
    if not scanned.rows.labelled.all():
        files[folder / "unlabelled.parquet"] = ()
    with ExitStack() as stack:
        quarantine = stack.enter_context(Quarantine(folder / "quarantine.csv", manifest))
        writers = [stack.enter_context(SplitWriter(path, labels, extra)) for path, extra in files.items()]
        for start, batch in batches(raw):
            quarantine.add(start, batch, assignment)
            examples.add(start, batch)
            here = slice(start, start + batch.num_rows)
            for code, writer in enumerate(writers):
                chosen = np.flatnonzero(assignment.split[here] == code)
                if len(chosen):
                    rows = batch.take(pa.array(chosen))
                    extra = {name: rows[name].to_pylist() for name in slice_columns} if code != UNLABELLED else {}
                    writer.add(rows["text"].to_pylist(), id_of_code[scanned.rows.label[here][chosen]].tolist(), extra)
    not_sampled = int((assignment.reason == CODE["not sampled"]).sum())
    in_splits = sum(writer.rows for writer in writers[: len(SPLITS)])
    unlabelled = sum(writer.rows for writer in writers[len(SPLITS) :])
    _require_all_rows("rows", manifest.rows, in_splits + not_sampled, quarantine.rows["labelled"])
    _require_all_rows("unlabelled rows", manifest.unlabelled_rows, unlabelled, quarantine.rows["unlabelled"])
    return quarantine.examples


def _require_all_rows(what: str, read: int, kept: int, quarantined: int) -> None:
    """Check that every row that ingest read was written exactly once."""
    missing = read - kept - quarantined
    if missing:
        raise HeadwayError(
            f"ingest read {read:,} {what}, but {kept:,} are kept and {quarantined:,} quarantined: "
            f"{abs(missing):,} were {'lost' if missing > 0 else 'written twice'}; "
            "run `dvc repro --force ingest`; if it happens again, please report it as a bug in Headway"
        )
