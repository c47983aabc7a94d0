"""Confidence sequences: their bounds solve the definition, at any size, and they hold the truth at all times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from headway.monitoring.intervals import accuracy_interval, difference_interval

COUNTS = st.integers(0, 300)


def evidence_of_accuracy(right: int, wrong: int, accuracy: float) -> float:
    """The capital of the bet against an accuracy, by integration: with q = sin² x the Beta(1/2, 1/2) prior is uniform in x."""
    value = quad(
        lambda x: (math.sin(x) ** 2 / accuracy) ** right * (math.cos(x) ** 2 / (1 - accuracy)) ** wrong,
        0,
        math.pi / 2,
        points=[math.asin(math.sqrt(right / (right + wrong)))],
        limit=500,
    )[0]
    return value / (math.pi / 2)


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([0.01, 0.05, 0.5]))
def test_at_the_bounds_the_bet_has_made_one_over_alpha(right: int, wrong: int, alpha: float) -> None:
    low, high = accuracy_interval(right, wrong, alpha)
    assert 0 < low < right / (right + wrong) < high < 1
    for bound in (low, high):
        assert evidence_of_accuracy(right, wrong, bound) == pytest.approx(1 / alpha, rel=1e-3)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(0, 0), (1, 0), (0, 1), (10**7, 0), (0, 10**7), (10**7, 1), (9 * 10**6, 10**6), (5 * 10**6, 5 * 10**6)],
)
def test_the_interval_is_finite_and_ordered_at_the_extremes(right: int, wrong: int) -> None:
    low, high = accuracy_interval(right, wrong, 0.05)
    share = right / (right + wrong) if right + wrong else 0.5
    assert 0 <= low <= share <= high <= 1
    assert (low == 0) == (right == 0)
    assert (high == 1) == (wrong == 0)
    if right + wrong >= 10**7:
        assert high - low < 12 / math.sqrt(right + wrong)


def test_ten_million_rows_agree_with_the_normal_approximation() -> None:
    """For many rows the mixture is the prior's density times the integral of a normal likelihood (Laplace)."""
    right, wrong = 9 * 10**6, 10**6
    low, high = accuracy_interval(right, wrong, 0.05)
    rows, prior = right + wrong, 1 / (math.pi * math.sqrt(0.9 * 0.1))
    variance = 0.09 / rows
    reach = math.sqrt(2 * variance * -math.log(0.05 * prior * math.sqrt(2 * math.pi * variance)))
    assert high - 0.9 == pytest.approx(reach, rel=3e-3)
    assert 0.9 - low == pytest.approx(reach, rel=3e-3)


@given(COUNTS, COUNTS)
def test_the_interval_mirrors_when_right_and_wrong_are_exchanged(right: int, wrong: int) -> None:
    low, high = accuracy_interval(right, wrong, 0.05)
    assert accuracy_interval(wrong, right, 0.05) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_accuracy_is_in_the_interval_at_all_times() -> None:
    """300 streams of 1,000 rows looked at after every tenth; an interval for one look misses in far more than 20% of them."""
    random, missed, missed_once = np.random.default_rng(1), 0, 0
    for _ in range(300):
        right = np.cumsum(random.random(1_000) < 0.9)
        for rows in range(10, 1_001, 10):
            count = int(right[rows - 1])
            low, high = accuracy_interval(count, rows - count, 0.2)
            if not low <= 0.9 <= high:
                missed += 1
                break
        error = np.abs(right[9::10] / np.arange(10, 1_001, 10) - 0.9)
        missed_once += bool((error > 1.2816 * np.sqrt(0.09 / np.arange(10, 1_001, 10))).any())
    assert missed <= 300 * 0.2
    assert missed_once > 300 * 0.4


def evidence_of_difference(counts: tuple[int, int, int], difference: float) -> float:
    """The capital of the bet against a difference: the best shares are searched on a grid."""
    first, second, others = counts
    low, high = max(0.0, -difference), (1 - difference) / 2
    share = np.linspace(low, high, 200_001)[1:-1]
    logs = first * np.log(share + difference) + second * np.log(share) + others * np.log(1 - difference - 2 * share)
    mixture = (
        math.lgamma(first + 0.5)
        + math.lgamma(second + 0.5)
        + math.lgamma(others + 0.5)
        - math.lgamma(sum(counts) + 1.5)
        - 3 * math.lgamma(0.5)
        + math.lgamma(1.5)
    )
    return mixture - float(logs.max())


@settings(max_examples=40)
@given(COUNTS, COUNTS, COUNTS)
def test_at_the_bounds_of_the_difference_the_bet_has_made_one_over_alpha(first: int, second: int, others: int) -> None:
    low, high = difference_interval(first, second, others, 0.05)
    rows = first + second + others
    observed = (first - second) / rows if rows else 0.0
    assert -1 <= low <= observed <= high <= 1
    for bound in (low, high):
        if abs(bound) < 1 - 1e-6:
            assert evidence_of_difference((first, second, others), bound) == pytest.approx(-math.log(0.05), abs=0.01)


@given(COUNTS, COUNTS, COUNTS)
def test_the_difference_changes_its_sign_when_the_models_are_exchanged(first: int, second: int, others: int) -> None:
    low, high = difference_interval(first, second, others, 0.05)
    assert difference_interval(second, first, others, 0.05) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(
    "counts", [(0, 0, 0), (0, 0, 10**7), (10**7, 0, 0), (0, 10**7, 0), (1, 0, 0), (10**6, 10**6, 8 * 10**6), (1, 1, 10**7)]
)
def test_the_interval_of_the_difference_is_finite_and_ordered_at_the_extremes(counts: tuple[int, int, int]) -> None:
    low, high = difference_interval(*counts, 0.05)
    observed = (counts[0] - counts[1]) / sum(counts) if sum(counts) else 0.0
    assert -1 <= low <= observed <= high <= 1
    if sum(counts) > 1:
        assert high - low < 0.01


def test_the_difference_is_in_the_interval_at_all_times() -> None:
    random, missed = np.random.default_rng(2), 0
    for _ in range(200):
        kinds = random.choice(3, p=[0.06, 0.04, 0.9], size=1_000)
        for rows in range(25, 1_001, 25):
            first, second, others = np.bincount(kinds[:rows], minlength=3)
            low, high = difference_interval(int(first), int(second), int(others), 0.2)
            if not low <= 0.02 <= high:
                missed += 1
                break
    assert missed <= 200 * 0.2
