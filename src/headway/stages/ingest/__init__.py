"""Stage ingest: the source's rows as Parquet, and a manifest of what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headway.data import corrections
from headway.data.sources.feedback import with_feedback
from headway.data.sources.files import open_files
from headway.data.sources.hub import open_hub
from headway.data.sources.manifest import Manifest, Tally
from headway.data.sources.package import open_package
from headway.data.sources.source import UNLABELLED, Source
from headway.errors import HeadwayError
from headway.files import fresh_folder, write_json
from headway.layout import Layout
from headway.params import DataParams, Params


def ingest(params: Params, layout: Layout) -> Manifest:
    """Read the source into ``data/raw``: ``rows.parquet``, ``unlabelled.parquet`` if there are such texts, ``manifest.json``.

    Labels are replaced as ``data.corrections`` says. With ``data.feedback``, the rows in ``data/feedback`` follow the source's.

    The time of reading is written to the scratch folder, because the same data must give the same outs. HeadwayError if the
    source is missing, damaged, empty, changes while it is read, or lacks a column, or if a list of corrections cannot be used;
    ``data/raw`` then stays as it was.
    """
    source = open_source(params.data, layout, params.split.time_column)
    if params.data.feedback:
        source = with_feedback(source, layout.feedback, params.split.time_column)
    tally = Tally()
    corrector = None
    if params.data.corrections:
        corrector = corrections.Corrector(corrections.read(layout.corrections, params.data.corrections))
    batches = map(corrector.apply, source.labelled_batches()) if corrector else source.labelled_batches()
    with fresh_folder(layout.raw) as folder:
        _write(folder / "rows.parquet", map(tally.add, batches), source.schema)
        if not tally.rows:
            raise HeadwayError(f"{source.name}: holds no rows; expected rows with a text and a label")
        if source.unlabelled:
            tally.unlabelled_rows = _write(folder / "unlabelled.parquet", source.unlabelled_batches(), UNLABELLED)
        manifest = replace(tally.manifest(source), corrections=corrector.counts() if corrector else None)
        write_json(folder / "manifest.json", asdict(manifest))
    when = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(layout.ingested, {"when": when, "rows_sha256": manifest.rows_sha256})
    return manifest


def open_source(params: DataParams, layout: Layout, time_column: str) -> Source:
    """The source that params name. Its rows have the cells of ``time_column`` as written, unless it is ""."""
    match params.source:
        case "package":
            return open_package(params, time_column)
        case "file":
            return open_files(params, layout.root, layout.scratch, time_column)
        case "hub":
            return open_hub(params, layout.root, time_column)


def _write(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write each batch as a row group as it arrives; return the number of rows."""
    rows = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
