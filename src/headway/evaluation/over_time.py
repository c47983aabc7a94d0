"""Accuracy over time: of test rows in the order of their times, in bins of about equally many rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from headway.evaluation.predictions import Predictions
from headway.params import TIME_COLUMN

#: Bins, at most, and rows in each, at least.
BINS, MIN_ROWS = 12, 25


def times_of(table: pa.Table) -> np.ndarray | None:
    """The times of the rows of a prepared split in UTC, datetime64[us], (rows,); None without ``split.time_column``.

    A slice column may have the same name, but holds strings.
    """
    if TIME_COLUMN not in table.column_names or not pa.types.is_timestamp(table.schema.field(TIME_COLUMN).type):
        return None
    return np.asarray(table[TIME_COLUMN].cast(pa.timestamp("us")).to_numpy())


def accuracy_over_time(predictions: Predictions, times: np.ndarray, confidence: float) -> list[dict[str, Any]]:
    """The bins from the earliest to the latest, for JSON.

    Each has the times of its first and last row in UTC, its number of rows, and their accuracy with Wilson's interval (Wilson
    1927) at level ``confidence``. Rows of the same time are in one bin, so there may be fewer bins than ``BINS``.

    Args:
        times: of the predictions' rows, datetime64[us], (rows,).
    """
    bins = max(1, min(BINS, len(times) // MIN_ROWS))
    ordered = np.sort(times)
    earlier = np.searchsorted(ordered, times, side="left")  # rows before each row's time
    bin_of = earlier * bins // max(1, len(times))
    found = []
    for index in np.unique(bin_of):
        mask = bin_of == index
        rows, right = int(mask.sum()), int(predictions.correct[mask].sum())
        bounds = binomtest(right, rows).proportion_ci(confidence, method="wilson")
        numbers = {"accuracy": right / rows, "accuracy_low": bounds.low, "accuracy_high": bounds.high}
        span = {"first": str(times[mask].min()), "last": str(times[mask].max())}
        found.append({**span, "rows": rows, **{name: round(float(value), 6) for name, value in numbers.items()}})
    return found
