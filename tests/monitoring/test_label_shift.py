"""Class shares from predicted classes: right under label shift, and finite whatever the reference holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headway.monitoring.label_shift import class_shares, confusion_rates, maximise

RATES = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.05, 0.05, 0.9]])


def draw(random: np.random.Generator, shares: list[float], rows: int) -> np.ndarray:
    """Rows by true and predicted class, (3, 3)."""
    true = random.multinomial(rows, shares)
    return np.stack([random.multinomial(number, rate) for number, rate in zip(true, RATES, strict=True)])


def test_shifted_shares_are_found_behind_the_confusions() -> None:
    random = np.random.default_rng(1)
    predicted = draw(random, [0.1, 0.2, 0.7], 20_000).sum(axis=0)
    found = class_shares(draw(random, [0.4, 0.4, 0.2], 20_000), predicted, seed=1)
    assert found.is_corrected
    assert found.caveat == ""
    assert found.shares == pytest.approx([0.1, 0.2, 0.7], abs=0.02)
    assert abs(predicted[0] / 20_000 - 0.1) > 0.03, "the predicted shares are off"


def test_inverting_the_confusions_gives_the_same_where_it_gives_shares() -> None:
    predicted = np.array([0.2, 0.3, 0.5]) @ RATES
    found = maximise(RATES[None], predicted[None], np.full(3, 1 / 3))[0]
    assert found == pytest.approx(np.linalg.solve(RATES.T, predicted), abs=1e-4)


def test_the_intervals_hold_the_shares_as_often_as_stated() -> None:
    random, held = np.random.default_rng(2), np.zeros(3)
    truth = np.array([0.2, 0.3, 0.5])
    for seed in range(100):
        reference = draw(random, [0.4, 0.4, 0.2], 400)
        found = class_shares(reference, draw(random, truth.tolist(), 400).sum(axis=0), seed=seed, alpha=0.2)
        held += (found.low <= truth) & (truth <= found.high)
    assert (held >= 70).all()
    assert (held <= 95).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda classes: st.tuples(
            arrays(np.int64, (classes, classes), elements=st.integers(0, 5)),
            arrays(np.int64, classes, elements=st.integers(0, 5)).filter(np.any),
        )
    )
)
def test_shares_are_a_distribution_whatever_the_reference(tables: tuple[np.ndarray, np.ndarray]) -> None:
    found = class_shares(*tables, seed=1)
    assert np.isfinite([found.shares, found.low, found.high]).all()
    assert found.shares.sum() == pytest.approx(1)
    assert (found.low >= 0).all()
    assert (found.low <= found.shares).all()
    assert (found.shares <= found.high).all()
    assert (found.high <= 1).all()


@pytest.mark.parametrize("confusion", [[[50, 50], [50, 50]], [[100, 0], [100, 0]]])
def test_a_model_that_does_not_tell_classes_apart_leaves_the_predicted_shares_and_says_so(
    confusion: list[list[int]],
) -> None:
    found = class_shares(np.array(confusion), np.array([30, 70]), seed=1)
    assert found.shares.tolist() == [0.3, 0.7]
    assert not found.is_corrected
    assert "do not tell the classes apart" in found.caveat
    assert found.low[0] < 0.3 < found.high[0]


def test_a_class_without_reference_rows_keeps_its_predicted_share_and_is_named() -> None:
    confusion = np.array([[90, 10, 0], [10, 90, 0], [0, 0, 0]])
    found = class_shares(confusion, np.array([500, 250, 250]), seed=1)
    assert found.is_corrected
    assert found.caveat == "no reference rows of 1 of 3 classes"
    assert found.shares[2] == pytest.approx(0.25, abs=0.01)


def test_one_further_row_is_spread_over_the_predictions_of_each_class() -> None:
    assert confusion_rates(np.array([[9, 0], [0, 0]])).tolist() == [[0.95, 0.05], [0, 1]]


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        class_shares(np.eye(2, dtype=int), np.array([0, 0]), seed=1)
