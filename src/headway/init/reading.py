"""How your files are read: the knobs of ``data`` that fit them, and the columns with the text and the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headway.data.columns import Proposal, examples, propose
from headway.data.sampling import FILES, SAMPLE, Sample, best_quoting, header_of, is_csv, sample_files, sample_rows
from headway.data.sources.file_set import is_document_name
from headway.data.sources.files import SampledFile, files_at, files_to_sample, is_test_name
from headway.data.sources.streams import kind_of
from headway.errors import HeadwayError
from headway.init.header import require_header
from headway.init.time_columns import time_columns
from headway.layout import Layout
from headway.params import DataParams, Params
from headway.phrases import listed

VALIDATION_ROWS = 3  # expected in the sample, at least
SHOWN = 5  # columns of each kind whose examples are kept


@dataclass(frozen=True)
class Reading:
    """How files are read."""

    where: str  # name of the first file
    knobs: Mapping[str, Any]  # of the section data
    proposal: Proposal
    examples: Mapping[str, Sequence[str]]  # frequent values of the proposed columns and of the next best
    columns: Sequence[str] = ()  # all columns
    times: Sequence[str] = ()  # columns that hold times


def choose_reading(
    params: Params,
    location: Mapping[str, str],
    layout: Layout,
    text: str | None = None,
    label: str | None = None,
    header: bool | None = None,
    columns: Sequence[str] = (),
) -> Reading:
    """Choose knobs for the files at a location; arguments and errors as for :func:`headway.init.survey`."""
    _require_names(columns)
    knobs: dict[str, Any] = {
        "source": "file",
        **location,
        "text_column": "text",  # any two that differ, until they are chosen
        "label_column": "label",
        "split_column": "",
        "slice_columns": [],
        "header": header is not False,
        "columns": list(columns),
        "quoting": "auto",
    }

    def as_params() -> DataParams:
        return params.override({f"data.{name}": value for name, value in knobs.items()}).data

    knobs |= _layout_of(as_params(), layout)
    are_documents = knobs["txt_files"] == "document"
    files = files_to_sample(as_params(), layout.root, layout.scratch, SAMPLE if are_documents else FILES)
    first, encoding = files[0].file, params.data.encoding
    if (columns or header is False) and (are_documents or not is_csv(first, encoding)):
        option = "--columns" if columns else "--no-header"
        raise HeadwayError(f"{option}: {first.name} is not a CSV file, and only a CSV's columns can be named; leave it out")
    if not are_documents:
        knobs["quoting"] = best_quoting(first, encoding)
        files = [
            file._replace(file=replace(file.file, csv=replace(file.file.csv, quoting=knobs["quoting"]))) for file in files
        ]
    sample = sample_files(files, encoding, are_documents)
    names = [] if are_documents or columns or header is not None else header_of(files[0].file, encoding)
    try:
        proposal = propose(sample, first.name, text, label)
    except HeadwayError:
        if names:
            require_header(names, sample, None, first.name)
        raise
    if names:
        require_header(names, sample, proposal, first.name)
    if len(files) > 1 and not are_documents:
        _require_columns(files, encoding, proposal)
    if header is False and not columns:
        sample, proposal, knobs["columns"] = _named(sample, proposal)
    knobs |= {"text_column": proposal.text, "label_column": proposal.label}
    chosen = (proposal.text, proposal.label)
    knobs["slice_columns"] = [name for name in params.data.slice_columns if name in sample and name not in chosen]
    by_time = params.split.time_column in sample
    if proposal.split and not by_time and not knobs["test_files"] and _leaves_enough(sample, proposal, params):
        knobs["split_column"] = proposal.split
    shown = [proposal.text, proposal.label, *proposal.other_texts[:SHOWN], *proposal.others[:SHOWN]]
    shown_values = {name: examples(sample, name) for name in shown}
    return Reading(first.name, knobs, proposal, shown_values, [*sample], time_columns(sample, chosen))


def _require_names(columns: Sequence[str]) -> None:
    """Check the names that a person gives to the columns of a CSV."""
    for number, name in enumerate(columns, 1):
        if not name:
            raise HeadwayError(f"--columns: name {number} of {len(columns)} is empty; name all columns, as in id,text,label")
        if name in columns[: number - 1]:
            raise HeadwayError(f"--columns: {name!r} occurs twice; give each column a name of its own")


def _require_columns(files: Sequence[SampledFile], encoding: str, proposal: Proposal) -> None:
    """Check that each of the files has both columns; the HeadwayError shows how to choose one that does."""
    wanted = {proposal.text, proposal.label}
    found = {file.name: [*sample_rows(file, encoding), *constant] for file, constant in files}
    lacking = next((name for name, columns in found.items() if not wanted <= {*columns}), None)
    if lacking is not None:
        whole = next((name for name, columns in found.items() if wanted <= {*columns}), next(iter(found)))
        raise HeadwayError(
            f"{lacking}: has the columns {listed(found[lacking], 5)}, and {whole} has {listed(found[whole], 5)}; "
            f"choose files with the same columns: --data '…/{whole}', or a glob in quotes"
        )


def _layout_of(params: DataParams, layout: Layout) -> dict[str, str]:
    """The knobs ``files`` and ``txt_files`` for a folder without a pattern: tables, in it or below it, or documents by class."""
    unchanged = {"files": params.files, "txt_files": "table"}
    if params.files != "*":
        return unchanged
    files = files_at(params, layout.root, layout.scratch)
    tables = [name for name in files.names if kind_of(name)]
    if not files.is_folder or any("/" not in name for name in tables):
        return unchanged
    if tables:
        return {"files": "**/*", "txt_files": "table"}
    documents = [name for name in files.names if is_document_name(name)]
    folders = {name.rpartition("/")[0] for name in documents if "/" in name}
    return {"files": "**/*", "txt_files": "document"} if len(folders) > 1 else unchanged


def _leaves_enough(sample: Sample, proposal: Proposal, params: Params) -> bool:
    """Whether some of the rows outside the test split are left for validation after the first ones of each class."""
    free = [
        label for label, split in zip(sample[proposal.label], sample[proposal.split], strict=True) if not is_test_name(split)
    ]
    left = len(free) - params.split.first_rows_in_training * len(set(free))
    return left * params.split.validation >= VALIDATION_ROWS


def _named(sample: Sample, proposal: Proposal) -> tuple[Sample, Proposal, list[str]]:
    """A sample without a header with the names text and label for its columns, the proposal for it, and all names."""
    names = {name: name for name in sample} | {proposal.text: "text", proposal.label: "label"}
    renamed = replace(
        proposal,
        text="text",
        label="label",
        other_texts=tuple(names[name] for name in proposal.other_texts),
        others=tuple(names[name] for name in proposal.others),
        split=names.get(proposal.split, ""),
    )
    return {names[name]: values for name, values in sample.items()}, renamed, [names[name] for name in sample]
