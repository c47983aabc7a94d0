"""Accuracy over time: bins of equally many rows in the order of their times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from headway.evaluation.over_time import BINS, MIN_ROWS, accuracy_over_time, times_of
from headway.evaluation.predictions import Predictions

DAY = np.timedelta64(1, "D")
START = np.datetime64("2024-01-01", "us")


def predictions(correct):
    """A model that is right on some rows; the others have a label that it does not know."""
    size = len(correct)
    labels = np.where(correct, 0, -1)
    probabilities = np.tile(np.array([0.9, 0.1], dtype=np.float32), (size, 1))
    return Predictions([str(row) for row in range(size)], labels, probabilities, ["a", "b"])


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=400))
def test_the_bins_hold_every_row_once_in_the_order_of_the_times(rows):
    days, correct = (np.array(part) for part in zip(*rows, strict=True))
    times = START + days * DAY
    found = accuracy_over_time(predictions(correct), times, 0.9)
    assert sum(entry["rows"] for entry in found) == len(rows)
    assert 1 <= len(found) <= min(BINS, max(1, len(rows) // MIN_ROWS))
    for earlier, later in pairwise(found):
        assert earlier["last"] < later["first"], "rows of the same time are in one bin"
    for entry in found:
        mask = (times >= np.datetime64(entry["first"])) & (times <= np.datetime64(entry["last"]))
        bounds = binomtest(int(correct[mask].sum()), int(mask.sum())).proportion_ci(0.9, method="wilson")
        assert entry["rows"] == mask.sum()
        expected = [correct[mask].mean(), bounds.low, bounds.high]
        assert [entry[name] for name in ("accuracy", "accuracy_low", "accuracy_high")] == pytest.approx(expected, abs=1e-6)


def test_different_times_give_bins_of_equally_many_rows():
    times = START + np.random.default_rng(0).permutation(1_200) * DAY
    assert [entry["rows"] for entry in accuracy_over_time(predictions(np.ones(1_200, bool)), times, 0.95)] == [100] * 12


def test_only_a_timestamp_is_the_time_of_a_row():
    table = pa.table({"time": pa.array([START.item()], pa.timestamp("us", "UTC"))})
    assert times_of(table) == [START]
    assert times_of(pa.table({"time": ["morning"]})) is None
    assert times_of(pa.table({"text": ["fine"]})) is None
