"""Slices: named subsets of a split for which metrics are reported separately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.text.scripts import dominant_scripts
from headway.errors import HeadwayError
from headway.evaluation.expressions import mask_of
from headway.evaluation.over_time import times_of
from headway.params import TIME_COLUMN, EvaluationParams, Params
from headway.phrases import counted, listed

#: Columns of every prepared split. All others are the source's, kept by ``data.slice_columns``; times make no slices.
OWN = ("id", "text", "label", "label_id")
QUARTERS = 4
#: A column with more values makes no slices by value, but can be used in a condition.
MAX_VALUES = 50


def slices(table: pa.Table, classes: Sequence[str], params: EvaluationParams) -> dict[str, np.ndarray]:
    """The slices of a split, by name, as masks over the rows, bool, (rows,), in a fixed order.

    - ``length: 12 to 610 characters``: quarters by length of the text; equal lengths share a quarter
    - ``label: negative``: by true label
    - ``script: Latin``: by the script of most letters in the text
    - ``source: imdb``: by each value of each column in ``data.slice_columns``
    - those in ``evaluation.slices``: by a condition (see :mod:`headway.evaluation.expressions`) on the columns, ``length`` and
      ``script``; or by each value of a column

    Of the first four kinds, empty slices and slices of all rows are left out. One in ``evaluation.slices`` is included even if
    no row matches it, so that a mistake in its condition is seen. HeadwayError if a condition cannot be read, or names a column
    that does not exist.
    """
    scripts = [script or "none" for script in dominant_scripts(table["text"].to_pylist())]
    if times_of(table) is not None:
        table = table.drop_columns([TIME_COLUMN])
    columns = {name: table[name] for name in table.column_names}
    columns |= {"length": pc.utf8_length(table["text"]), "script": pa.chunked_array([pa.array(scripts, pa.string())])}
    names = set(table["label"].unique().to_pylist())
    known = [name for name in classes if name in names]
    found = _by_length(columns["length"].to_numpy())
    found |= _by_value("label", columns["label"], [*known, *sorted(names - set(known))])
    found |= _by_value("script", columns["script"])
    for name in table.column_names:
        if name not in OWN and len(columns[name].unique()) <= MAX_VALUES:
            found |= _by_value(name, columns[name])
    found = {name: mask for name, mask in found.items() if mask.any() and not mask.all()}
    for name, expression in params.slices.items():
        if expression in columns and not pa.types.is_boolean(columns[expression].type):
            if (values := len(columns[expression].unique())) > MAX_VALUES:
                raise HeadwayError(
                    f"evaluation.slices.{name}: column {expression!r} has {values:,} different values, more than {MAX_VALUES}; "
                    f"use a condition, such as {expression} > 100"
                )
            found |= _by_value(name, columns[expression]) or {name: np.zeros(table.num_rows, dtype=bool)}
        else:
            found[name] = mask_of(expression, columns, f"evaluation.slices.{name}")
    return found


def check(params: Params) -> None:
    """Check, before anything runs, that the conditions in ``evaluation.slices`` fit the columns that a prepared split will have.

    Each is computed for one row. Labels and slice columns hold "1" there, so that comparisons with strings and with numbers
    can both be computed.
    """
    row: dict[str, str | int] = {"id": "a", "text": "word", "label": "1", "label_id": 0, "length": 4, "script": "Latin"}
    row |= dict.fromkeys(params.data.slice_columns, "1")
    columns = {name: pa.chunked_array([pa.array([value])]) for name, value in row.items()}
    for name, expression in params.evaluation.slices.items():
        if expression not in columns:
            mask_of(expression, columns, f"evaluation.slices.{name}")


def without_rows(by_slice: Mapping[str, Mapping[str, Any]]) -> str:
    """A line that names the slices that no row matches, "" if there are none.

    ``by_slice`` is from :func:`headway.evaluation.metrics.evaluate_slices`.
    """
    names = [name for name, entry in by_slice.items() if not entry["rows"]]
    return f"no test row matches {counted(len(names), 'slice')}: {listed(names, 8)}" if names else ""


def _by_length(lengths: np.ndarray) -> dict[str, np.ndarray]:
    if not len(lengths):
        return {}
    edges = np.unique(np.quantile(lengths, np.arange(1, QUARTERS) / QUARTERS, method="lower"))
    quarter = np.searchsorted(edges, lengths, side="left")  # a length equal to an edge belongs to the lower quarter
    masks = [quarter == index for index in range(len(edges) + 1)]
    return {f"length: {lengths[m].min():,} to {lengths[m].max():,} characters": m for m in masks if m.any()}


def _by_value(name: str, column: pa.ChunkedArray, order: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """A slice for each value; rows without a value are in no slice."""
    values = sorted(column.drop_null().unique().to_pylist()) if order is None else order
    plain = column.combine_chunks()
    masks = {f"{name}: {value}": pc.equal(plain, pa.scalar(value, plain.type)) for value in values}
    return {name: np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)) for name, mask in masks.items()}
