"""Answers whose true label has arrived become rows to learn from: they are written to ``data/feedback``, which ingest reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headway.data.preparation.label_map import LabelMap
from headway.data.sources.feedback import LABEL, TEXT, TIME
from headway.errors import HeadwayError
from headway.promotion.project import Project
from headway.serving.log.kept_labels import KeptLabels, Key, kept_labels
from headway.serving.log.reading import read_part
from headway.serving.log.store import PartStore, UnreadablePart, located
from headway.serving.log.writer import open_log
from headway.tables import read_table

FILE = "labelled.parquet"
SCHEMA = pa.schema({TEXT: pa.large_string(), LABEL: pa.string(), TIME: pa.string()})
_COLUMNS = ["request_id", "time", "role", "text_sha256", "text"]


def collect_feedback(project: Project) -> int:
    """Add the texts in the log whose label is known, and not written yet; returns the number of new rows.

    Rows stay when the log no longer has them. The file is written as a whole or not at all.

    Raises:
        HeadwayError: the log keeps no texts, or cannot be read; or the file is damaged.
    """
    params = located(project.params.serving.log, project.layout.root)
    if not params.folder:
        return 0
    if params.texts != "full":
        raise HeadwayError(
            f"data.feedback: needs the texts of the answers, but serving.log.texts is {params.texts}; set it to full, or "
            "data.feedback to false"
        )
    path = project.layout.feedback / FILE
    table = _kept(path) if path.is_file() else SCHEMA.empty_table()
    label_map = LabelMap(project.params.data.label_map)
    seen = set(zip(table[TEXT].to_pylist(), table[LABEL].to_pylist(), strict=True))
    rows = []
    log = open_log(params)
    for row in _labelled_texts(log, kept_labels(log)):
        if (again := label_map(row[1])) != row[1]:
            raise HeadwayError(
                f"data.label_map: makes {again!r} of {row[1]!r}, but labels of answers are mapped already, and would be "
                "mapped twice; choose names that the map does not change again, or set data.feedback to false"
            )
        if row[:2] not in seen:
            seen.add(row[:2])
            rows.append(dict(zip(SCHEMA.names, row, strict=True)))
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pq.write_table(pa.concat_tables([table, pa.Table.from_pylist(rows, SCHEMA)]), partial)
        partial.replace(path)
    return len(rows)


def _kept(path: Path) -> pa.Table:
    """The rows that are in the file; those without a time have none."""
    table = read_table(path, "feedback")
    if missing := [name for name in (TEXT, LABEL) if name not in table.column_names]:
        raise HeadwayError(f"{path}: has no column {missing[0]!r}; expected the columns text and label, or remove the file")
    columns = [table[name] if name in table.column_names else pa.nulls(table.num_rows) for name in SCHEMA.names]
    return pa.table(columns, names=SCHEMA.names).cast(SCHEMA)


def _labelled_texts(log: PartStore, kept: KeptLabels) -> Iterator[tuple[str, str, str]]:
    """Texts that the champion answered, with their true label and the time of the answer, in the order of the log."""
    for part in log.parts() if kept.labels else ():
        try:
            table = read_part(log, part, _COLUMNS)
        except UnreadablePart:
            continue  # `headway monitor` reports it
        for request_id, time, role, text_sha256, text in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
            keys = [Key(request_id, ""), Key("", text_sha256 or "")]
            labels = {kept.labels[key] for key in keys if key in kept.labels}
            if role == "champion" and text and len(labels) == 1 and not kept.contradicted.intersection(keys):
                yield text, labels.pop(), time.isoformat()
