"""Files with true labels, in every format that ``headway predict`` reads: which columns they have, and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from headway.data.preparation.label_map import LabelMap
from headway.data.sampling import best_quoting
from headway.data.sources.nested import value_at
from headway.data.sources.rows import cell_text, make_row
from headway.data.sources.streams import CsvStyle
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import DataParams, nearest
from headway.phrases import listed
from headway.serving.batch.columns import LABEL as PREDICTED
from headway.serving.batch.columns import PREFIX, PROBABILITY
from headway.serving.batch.inputs import named_files
from headway.serving.batch.records import Facts, InputFile, records
from headway.serving.log.feedback import LabelRow, with_map

SAMPLE = 1_000  # first rows, from which the columns of JSON are known
#: Usual names of columns, the best first.
REQUEST_IDS, HASHES, TIMES = ("request_id",), ("text_sha256", "text_hash"), ("labelled_at",)
TRUE_LABEL, ID = "true_label", "id"


@dataclass(frozen=True)
class LabelColumns:
    """Names of columns; "" for one that is looked for, or that the file does not have."""

    request_id: str = ""
    text_hash: str = ""
    text: str = ""
    label: str = ""
    time: str = ""


def find_label_files(
    given: Sequence[str], params: DataParams, layout: Layout, spool: Path, stdin: BinaryIO
) -> list[InputFile]:
    """The files that paths, folders, globs, URLs or ``-`` name; the first line of a CSV names its columns.

    Raises:
        HeadwayError: as :func:`headway.serving.batch.inputs.find_inputs`.
    """
    found = []
    for source in named_files(given, params, layout, spool, stdin):
        if not source.file.member and not source.file.path.stat().st_size:
            raise HeadwayError(f"{source.file.name}: empty; expected rows with a label")
        quoting = params.quoting if params.quoting != "auto" else best_quoting(source.file, source.encoding)
        found.append(replace(source, file=replace(source.file, csv=CsvStyle(quoting))))
    return found


def label_rows(source: InputFile, wanted: LabelColumns, params: DataParams) -> Iterator[LabelRow]:
    """The rows of a file. Labels are as ``data.label_map`` makes them of the data's.

    Args:
        wanted: the columns that a person has named.

    Raises:
        HeadwayError: it has no such column, none with labels, or none that says what they are the labels of.
    """
    first = list(islice(records(source, facts := Facts()), SAMPLE))
    names = list(dict.fromkeys([*facts.types, *(name for record in first for name in record.values)]))
    columns = _columns(source.file.name, names, wanted, params)
    label_map = LabelMap(params.label_map)
    for number, record in enumerate(records(source, Facts()), 1):
        row = LabelRow("", problem=record.problem) if record.problem else with_map(_row(record.values, columns), label_map)
        yield replace(row, place=f"{source.file.name}, row {number}", source=source.file.name)


def _columns(where: str, names: Sequence[str], wanted: LabelColumns, params: DataParams) -> LabelColumns:
    """The file's columns: those that are named, else those with a usual name."""
    options = {
        "--request-id-column": wanted.request_id,
        "--hash-column": wanted.text_hash,
        "--text-column": wanted.text,
        "--label-column": wanted.label,
        "--time-column": wanted.time,
    }
    for option, name in options.items():
        if name and name not in names and name.split(".")[0] not in names:
            raise HeadwayError(f"{option}: {where} has no column {name!r}; {nearest(name, list(names))}")

    def found(*usual: str) -> str:
        return next((name for name in usual if name in names), "")

    is_key_named = wanted.request_id or wanted.text_hash or wanted.text
    columns = LabelColumns(
        wanted.request_id or ("" if is_key_named else found(*REQUEST_IDS)),
        wanted.text_hash or ("" if is_key_named else found(*HASHES)),
        wanted.text or ("" if is_key_named else found(params.text_column, "text")),
        wanted.label or found(TRUE_LABEL, params.label_column, "label"),
        wanted.time or found(*TIMES),
    )
    if not (columns.request_id or columns.text_hash or columns.text):
        columns = replace(columns, request_id=found(ID))
    there = listed([repr(name[:40]) for name in names], 5)
    if not (columns.request_id or columns.text_hash or columns.text):
        raise HeadwayError(
            f"{where}: has no column with request ids, texts or their hashes, but {there}; name one with --request-id-column, "
            "--text-column or --hash-column"
        )
    if not columns.label:
        raise HeadwayError(f"{where}: has no column with labels, but {there}; name it with --label-column")
    if not wanted.label and columns.label == PREDICTED and PROBABILITY in names and PREFIX + PREDICTED not in names:
        raise HeadwayError(
            f"{where}: has a column {PROBABILITY!r}, so its column {PREDICTED!r} is probably a prediction; name the column with "
            "the true labels with --label-column"
        )
    return columns


def _row(values: Mapping[str, Any], columns: LabelColumns) -> LabelRow:
    def cell(name: str) -> str | None:
        return cell_text(value_at(values, name)) if name else None

    written = make_row(None, value_at(values, columns.label))  # as labels for training are read
    problem, moment = written.problem, None
    try:
        moment = _moment(value_at(values, columns.time)) if columns.time else None
    except (ValueError, OverflowError):  # not a time, or in UTC before the year 1 or after 9999
        problem = problem or "the time of the label is not in the form 2026-12-01T08:30:00+00:00"
    return LabelRow(
        written.label or "",
        cell(columns.request_id) or "",
        cell(columns.text_hash) or "",
        cell(columns.text),
        moment,
        problem,
    )


def _moment(value: object) -> datetime | None:
    """A time, in UTC if it has no time zone; None if it is missing. ValueError or OverflowError if it is not a time."""
    if not isinstance(value, datetime):
        text = cell_text(value)
        if not text or not text.strip():
            return None
        value = datetime.fromisoformat(text.strip())
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
