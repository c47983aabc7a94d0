"""Calibration error and Brier score against numbers by hand, scikit-learn, and models with known errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import brier_score_loss

from headway.evaluation.calibration import (
    bins_of,
    brier_by_row,
    confidences,
    expected_calibration_error,
)
from headway.evaluation.predictions import Predictions


def two_classes(of_second, labels):
    of_second = np.array(of_second, dtype=np.float64)
    return Predictions(
        [str(row) for row in range(len(labels))],
        np.array(labels),
        np.stack([1 - of_second, of_second], axis=1),
        ["a", "b"],
    )


def drawn(rows, n_classes, seed):
    """Logits, and labels that are drawn from them: a model that is calibrated by construction."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, n_classes))
    labels = (random.random((rows, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(labels, n_classes - 1)


# Calibration error


def test_the_error_of_eight_rows_in_two_bins_worked_by_hand():
    # Least sure four: .5 .6 .6 .7, mean .6, right 2 of 4; surest four: .8 .9 .9 1, mean .9, right 4 of 4.
    predictions = two_classes([0.5, 0.6, 0.4, 0.7, 0.8, 0.9, 0.1, 1.0], [1, 0, 0, 1, 1, 1, 0, 1])
    assert predictions.correct.tolist() == [False, False, True, True, True, True, True, True]
    assert expected_calibration_error(predictions, bins=2) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert expected_calibration_error(predictions, bins=1) == pytest.approx(0.0, abs=1e-12)


def test_bins_have_about_equally_many_rows():
    confidence = np.random.default_rng(0).beta(20, 1, 1000)
    assert np.bincount(bins_of(confidence, 15)).tolist() == pytest.approx([67] * 15, abs=1)


@given(st.lists(st.sampled_from([0.5, 0.6, 0.9]), min_size=1, max_size=40), st.integers(1, 20))
def test_rows_of_equal_confidence_share_a_bin(confidence, bins):
    values = np.array(confidence)
    bin_of = bins_of(values, bins)
    assert all(len(set(bin_of[values == value])) == 1 for value in values)
    assert bin_of.max() < bins


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 999))
def test_the_order_of_the_rows_does_not_matter(rows, n_classes, seed):
    logits, labels = drawn(rows, n_classes, seed)
    probabilities = np.round(softmax(logits, axis=1), 1)  # with ties
    order = np.random.default_rng(seed).permutation(rows)
    names = [str(index) for index in range(n_classes)]
    one, other = (
        Predictions(np.arange(rows).astype(str)[rank], labels[rank], probabilities[rank], names)
        for rank in (np.arange(rows), order)
    )
    assert expected_calibration_error(one) == pytest.approx(expected_calibration_error(other), abs=1e-12)
    assert 0 <= expected_calibration_error(one) <= 1


def test_a_calibrated_model_has_hardly_any_error_and_an_overconfident_one_has_its_excess():
    logits, labels = drawn(40_000, 2, seed=3)
    ids = np.arange(len(labels)).astype(str)
    fair, sure = (Predictions(ids, labels, softmax(scale * logits, axis=1), ["a", "b"]) for scale in (1, 4))
    assert expected_calibration_error(fair) < 0.012
    excess = confidences(sure).mean() - sure.correct.mean()
    assert excess > 0.1
    assert expected_calibration_error(sure) == pytest.approx(excess, abs=0.01)


# Brier score


def test_the_brier_score_of_three_rows_worked_by_hand():
    # .2² + .4² + .9²
    assert brier_by_row(two_classes([0.8, 0.4, 0.9], [1, 0, 0])) == pytest.approx([0.04, 0.16, 0.81])


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 999))
def test_the_brier_score_is_scikit_learns(rows, n_classes, seed):
    logits, labels = drawn(rows, n_classes, seed)
    predictions = Predictions(
        np.arange(rows).astype(str), labels, softmax(logits, axis=1), [str(index) for index in range(n_classes)]
    )
    expected = brier_score_loss(labels, predictions.probabilities, labels=range(n_classes))
    assert brier_by_row(predictions).mean() == pytest.approx(expected)


def test_an_unknown_label_scores_like_a_class_of_probability_zero():
    unknown = Predictions(["u"], np.array([-1]), np.array([[0.25, 0.75, 0.0]]), ["a", "b", "c"])
    ruled_out = Predictions(["u"], np.array([2]), unknown.probabilities, unknown.classes)
    assert brier_by_row(unknown) == brier_by_row(ruled_out) == pytest.approx([0.0625 + 0.5625 + 1])
