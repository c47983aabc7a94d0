"""The Hugging Face Hub: splits of a data set at a pinned revision. Only this source switches the network on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.data.sources.parquet import ROWS, rows_of_columns
from headway.data.sources.remote import is_server_trouble
from headway.data.sources.rows import Row
from headway.data.sources.source import Columns, FileInfo, Part, Source, extra_columns
from headway.errors import HeadwayError, first_line
from headway.network import retried
from headway.params import TIME_COLUMN, DataParams
from headway.progress import ProgressLine

if TYPE_CHECKING:
    from datasets import Dataset


def open_hub(params: DataParams, root: Path, time_column: str = "") -> Source:
    """The splits that params name. A folder in the Hub's layout works too, if its path begins with a dot or a slash.

    The rows have the cells of ``time_column``, unless it is "". HeadwayError if the data set, revision or split does not exist,
    the network fails, or a folder has the data set's name.
    """
    extra = extra_columns(params.slice_columns, time_column)
    labelled = Columns(params.text_column, params.label_column, extra, time=time_column)

    def parts(split: str, columns: Columns, is_test: bool = False) -> list[Part]:
        if not split:
            return []
        where = f"hub {params.hub_name}, split {split}"
        rows = _loaded(params, split, root, where)
        columns.require(rows.column_names, where)
        return [Part(FileInfo(split, columns=rows.column_names), partial(_read, rows, columns), is_test)]

    return Source(
        name=f"hub {params.hub_name}",
        version=params.hub_revision,
        labelled=[*parts(params.hub_test_split, labelled, is_test=True), *parts(params.hub_split, labelled)],
        unlabelled=parts(params.hub_unlabelled_split, Columns(params.text_column, None)),
        extra_columns=extra_columns(params.slice_columns, TIME_COLUMN if time_column else ""),
    )


def _read(rows: Dataset, columns: Columns) -> Iterator[Row]:
    """All rows of a split; the ids of classes become their names, and the id -1 a missing label."""
    names = getattr(rows.features.get(columns.label), "names", None)  # of a ClassLabel
    for batch in rows.select_columns(columns.wanted).iter(batch_size=ROWS):
        if names and columns.label:
            ids = batch[columns.label]
            batch |= {columns.label: [None if id is None or id < 0 else names[id] for id in ids]}
        yield from rows_of_columns(batch, columns)


def _loaded(params: DataParams, split: str, root: Path, where: str) -> Dataset:
    """A split, memory-mapped from the Hub client's cache, into which it is downloaded once."""
    import datasets
    import huggingface_hub

    datasets.disable_progress_bars()
    for library in (datasets, huggingface_hub):
        library.logging.set_verbosity(logging.CRITICAL)  # failures are raised, and reported below
    name = _checked_name(params.hub_name, root)
    try:
        with online():
            return retried(
                lambda: datasets.load_dataset(name, revision=params.hub_revision, split=split),
                _is_transient,
                where,
                ProgressLine().note,
            )
    except Exception as error:  # the Hub's client, its cache and each format raise their own
        advice = "check data.hub_split, data.hub_test_split and data.hub_unlabelled_split"
        if isinstance(error, datasets.exceptions.DatasetNotFoundError):
            advice = "check data.hub_name and data.hub_revision, or log in with `hf auth login` if it is private"
        elif isinstance(error, ConnectionError | TimeoutError):
            advice = "check the network, and run again"
        raise HeadwayError(f"{where}: {first_line(error).rstrip('.')}; {advice}") from error


def _checked_name(name: str, root: Path) -> str:
    """A folder's path, or a data set's name on the Hub if no folder has that name: ``datasets`` would read the folder."""
    if name.startswith((".", "/")):
        return str(root / name)
    if (root / name).exists() or Path(name).exists():
        raise HeadwayError(
            f"data.hub_name: a folder named {name} exists here and would be read instead of the Hub's data set; "
            f"rename it, or write ./{name} to read it"
        )
    return name


def _is_transient(error: BaseException) -> bool:
    """Whether a new attempt can help: after a failure of the network or the server, not after a refusal."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return is_server_trouble(status)
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and _is_transient(cause)


@contextmanager
def online() -> Iterator[None]:
    """Let the Hub's client use the network within the block; Headway switches that off when it starts."""
    import datasets
    import huggingface_hub

    modules: list[Any] = [huggingface_hub.constants, datasets.config]
    before = [module.HF_HUB_OFFLINE for module in modules]
    variable = os.environ.pop("HF_HUB_OFFLINE", None)
    for module in modules:
        module.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value
        if variable is not None:
            os.environ["HF_HUB_OFFLINE"] = variable
