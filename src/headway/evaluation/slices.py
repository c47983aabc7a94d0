"""Slices: named subsets of a split for which metrics are reported separately."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.text.scripts import dominant_scripts
from headway.errors import HeadwayError
from headway.evaluation.expressions import mask_of, require_columns
from headway.params import EvaluationParams, Params

#: Columns of every prepared split. All others are the source's, kept by ``data.slice_columns``.
OWN = ("id", "text", "label", "label_id")
#: Columns that are computed from the text.
COMPUTED = ("length", "script")
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

    Empty slices are left out, and so are slices of the first four kinds that contain all rows. Small slices are included.
    HeadwayError if a condition cannot be read, or names a column that does not exist.
    """
    scripts = [script or "none" for script in dominant_scripts(table["text"].to_pylist())]
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
    found = {name: mask for name, mask in found.items() if not mask.all()}
    for name, expression in params.slices.items():
        if expression in columns and not pa.types.is_boolean(columns[expression].type):
            if (values := len(columns[expression].unique())) > MAX_VALUES:
                raise HeadwayError(
                    f"evaluation.slices.{name}: column {expression!r} has {values:,} different values, more than {MAX_VALUES}; "
                    f"use a condition, such as {expression} > 100"
                )
            found |= _by_value(name, columns[expression])
        else:
            found[name] = mask_of(expression, columns, f"evaluation.slices.{name}")
    return {name: mask for name, mask in found.items() if mask.any()}


def check(params: Params) -> None:
    """Check, before anything runs, that the conditions in ``evaluation.slices`` name columns that a prepared split will have."""
    known = [*OWN, *COMPUTED, *params.data.slice_columns]
    for name, expression in params.evaluation.slices.items():
        if expression not in known:
            require_columns(expression, known, f"evaluation.slices.{name}")


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
