"""Stage prepare: keeps each usable row once, and splits the rows so that no text, or near-duplicate of one, is in two splits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from headway.data.preparation.ingested import Manifest, batches
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.profile import DataProfile, bad_share, profile
from headway.data.preparation.scan import Scan, Settings, scan
from headway.data.preparation.scores import score_in
from headway.data.preparation.split_assignment import Assignment, assign
from headway.data.preparation.text_examples import ExampleTexts
from headway.data.preparation.time_split import assign_by_time
from headway.data.preparation.times import iso_time
from headway.data.preparation.validation import BAD, CODE, OF_TIME, REASONS, sort_labels
from headway.data.preparation.writing import Quarantine, QuarantinedRow, SplitWriter
from headway.data.text.splits import SPLITS, TRAIN, UNLABELLED
from headway.errors import HeadwayError
from headway.files import fresh_folder, write_json
from headway.layout import Layout
from headway.params import TIME_COLUMN, Params
from headway.phrases import counted
from headway.stages.prepare.spread import HERE, Workers, running

MAX_CLASSES = 1_000
#: Of the times in ``data/prepared``.
TIMESTAMP = pa.timestamp("us", tz="UTC")


def prepare(params: Params, layout: Layout, workers: Workers = HERE) -> DataProfile:
    """Write ``data/prepared``, the data metrics, and the data profile with examples of texts and of quarantined rows
    (``results/data``).

    ``data/prepared`` has a Parquet file per split (id, text, label, label_id, the columns in ``data.slice_columns``, and with
    ``split.time_column`` time, a timestamp in UTC), ``labels.json`` with the classes in the order of their ids, and
    ``quarantine.csv`` with the rows that were left out.

    Labels are renamed, merged and dropped by ``data.label_map`` first. HeadwayError if too many rows are bad, a split is empty,
    the number of classes is out of range, the labels are a score, or the times cannot be read.

    Args:
        workers: what scans the rows, which does not change what is written.
    """
    manifest = Manifest.read(layout.raw)
    settings = Settings.of(params)
    spool = layout.scratch / "bands-spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(parents=True)
    try:
        with running(workers, settings, manifest.rows + manifest.unlabelled_rows) as run:
            scanned = scan(layout.raw, params, spool, run)
    finally:
        shutil.rmtree(spool)
    _require_classes(scanned, params.data.label_column)
    last_day, max_rows = params.split.train_until, params.data.max_rows
    if scanned.times is None:
        assignment = assign(scanned.rows, params.split, max_rows)
    else:
        assignment = assign_by_time(scanned.rows, scanned.times, params.split, last_day, max_rows)
    _require_few_bad_rows(scanned, assignment, params.data.max_bad_share, manifest, layout)
    if scanned.times is not None:
        _require_spans(scanned, scanned.times, assignment, params.split.time_column, last_day)
    labels = _classes(scanned, assignment, settings.label_map, params.split.first_rows_in_training)
    with fresh_folder(layout.prepared) as folder:
        write_json(folder / "labels.json", labels)
        texts = ExampleTexts(scanned, assignment, labels)
        quarantined = _write(scanned, assignment, labels, manifest, layout.raw, folder, params.data.slice_columns, texts)
    result = profile(scanned, assignment, labels, settings.label_map, params, manifest)
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


def _require_spans(scanned: Scan, times: np.ndarray, assignment: Assignment, column: str, last_day: str) -> None:
    """Refuse times that leave a split without rows, or training rows of a single class."""
    split, reason = assignment.split, assignment.reason
    left_out = [CODE[name] for name in (*OF_TIME[2:], "class without training rows")]
    usable = scanned.rows.labelled & np.isin(reason, [0, *left_out])
    if not usable.any():
        return
    first, distinct = iso_time(times[usable].min()), len(np.unique(times[usable]))
    if distinct < len(SPLITS):
        raise HeadwayError(
            f"split.time_column: the usable rows have {counted(distinct, 'different time')} in column {column!r}, expected three "
            "or more, because rows of one time are in one split; name a column with finer times"
        )
    rows = {name: int((split[usable] == code).sum()) for code, name in enumerate(SPLITS)}
    if last_day and not (rows["train"] and rows["validation"]):
        raise HeadwayError(
            f"split.train_until: {last_day} leaves {rows['train']:,} training and {rows['validation']:,} validation rows, "
            f"expected some of both; the first row is of {first}: name a later day"
        )
    lost = ", ".join(f"{REASONS[code]} {count:,}" for code in left_out if (count := int((reason[usable] == code).sum())))
    if empty := [name for name, count in rows.items() if not count]:
        raise HeadwayError(
            f"split.{empty[0]}: no row of its time is left ({lost}); raise its share, lower split.near_duplicates, or add rows"
        )
    trained = np.unique(scanned.rows.label[split == TRAIN])
    if len(trained) < 2:
        last = iso_time(times[split == TRAIN].max())
        raise HeadwayError(
            f"split.time_column: the training rows, from {first} to {last}, have only the label {scanned.labels[trained[0]]!r}, "
            f"expected two or more labels ({lost or 'no other label'}); add earlier rows of other classes, or lower split.test "
            "and split.validation"
        )


def _classes(scanned: Scan, assignment: Assignment, label_map: LabelMap, first_rows: int) -> list[str]:
    """The classes of the training rows, in the order of their ids: two or more, and every split has rows."""
    split, label = assignment.split, scanned.rows.label
    kept = (split >= 0) & (label >= 0)
    rows = int(kept.sum())
    names = {scanned.labels[code] for code in np.unique(label[split == TRAIN])}
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
    fields = [pa.field(name, pa.string()) for name in slice_columns]
    if scanned.times is not None:
        fields.append(pa.field(TIME_COLUMN, TIMESTAMP))
    files: dict[Path, Sequence[pa.Field]] = {folder / f"{name}.parquet": fields for name in SPLITS}
    if not scanned.rows.labelled.all():
        files[folder / "unlabelled.parquet"] = ()
    with ExitStack() as stack:
        quarantine = stack.enter_context(Quarantine(folder / "quarantine.csv", manifest))
        writers = [stack.enter_context(SplitWriter(path, extra)) for path, extra in files.items()]
        for start, batch in batches(raw):
            quarantine.add(start, batch, assignment)
            examples.add(start, batch)
            here = slice(start, start + batch.num_rows)
            for code, writer in enumerate(writers):
                chosen = np.flatnonzero(assignment.split[here] == code)
                if len(chosen):
                    rows = batch.take(pa.array(chosen))
                    extra = {name: rows[name].to_pylist() for name in slice_columns} if code != UNLABELLED else {}
                    if scanned.times is not None and code != UNLABELLED:
                        extra[TIME_COLUMN] = pa.array(scanned.times[here][chosen]).cast(TIMESTAMP)
                    codes = scanned.rows.label[here][chosen]
                    names = [scanned.labels[code] if code >= 0 else None for code in codes.tolist()]
                    writer.add(rows["text"].to_pylist(), names, id_of_code[codes].tolist(), extra)
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
