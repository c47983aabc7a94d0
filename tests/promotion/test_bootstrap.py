"""The bootstrap of a mean, of macro F1 and of negative log-likelihood, against rows that are really drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from headway.evaluation.predictions import Predictions
from headway.params import GateParams, Params
from headway.promotion.bootstrap import bootstrap_mean, macro_f1_difference, nll_difference
from headway.promotion.paired_predictions import PairedPredictions, pair

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def policy(params: Params) -> GateParams:
    return params.override({"gate.bootstrap_samples": 3000}).gate


def scattered(labels: np.ndarray, right: float, seed: int) -> Predictions:
    """Of a model that is right on such a share of the rows, and sure by chance."""
    random = np.random.default_rng(seed)
    guesses = np.where(random.random(len(labels)) < right, labels, random.integers(0, 3, len(labels)))
    probabilities = np.eye(3)[guesses] + random.uniform(0.1, 0.9, (len(labels), 3))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions([f"{row:04}" for row in range(len(labels))], labels, probabilities.astype(np.float32), CLASSES)


@pytest.fixture(scope="module")
def compared() -> PairedPredictions:
    labels = np.random.default_rng(0).choice(3, 500, p=[0.6, 0.37, 0.03])
    return pair(scattered(labels, 0.8, seed=1), scattered(labels, 0.7, seed=2))


def macro_f1(truth: np.ndarray, guesses: np.ndarray) -> float:
    return float(f1_score(truth, guesses, labels=np.unique(truth), average="macro", zero_division=0))


def test_macro_f1_and_its_interval_are_those_of_drawn_rows(compared: PairedPredictions, policy: GateParams) -> None:
    measured = macro_f1_difference(compared, policy, seed=1)
    truth, (first, second) = compared.labels, compared.predicted
    assert measured.value == pytest.approx(macro_f1(truth, first) - macro_f1(truth, second))
    random = np.random.default_rng(3)
    draws = [random.integers(0, len(truth), len(truth)) for _ in range(1500)]
    drawn = [macro_f1(truth[rows], first[rows]) - macro_f1(truth[rows], second[rows]) for rows in draws]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert measured.low == pytest.approx(low, abs=0.015)
    assert measured.high == pytest.approx(high, abs=0.015)
    assert high - low > 0.1


def test_negative_log_likelihood_is_that_of_the_true_labels(compared: PairedPredictions, policy: GateParams) -> None:
    measured = nll_difference(compared.candidate, compared.opponent, policy, seed=1)
    rows = np.arange(len(compared.labels))
    first, second = (-np.log(one.probabilities[rows, compared.labels]) for one in (compared.candidate, compared.opponent))
    assert measured.value == pytest.approx((first - second).mean(), abs=1e-6)
    half = 1.96 * (first - second).std() / np.sqrt(len(rows))
    assert measured.low == pytest.approx(measured.value - half, abs=0.1 * half)
    assert measured.high == pytest.approx(measured.value + half, abs=0.1 * half)


def test_a_class_that_neither_guesses_right_and_one_without_rows_do_no_harm(policy: GateParams) -> None:
    labels = np.array([0, 0, 0, 1])
    always_a = Predictions(["1", "2", "3", "4"], labels, np.tile(np.float32([0.8, 0.1, 0.1]), (4, 1)), CLASSES)
    perfect = Predictions(["1", "2", "3", "4"], labels, np.eye(3, dtype=np.float32)[labels], CLASSES)
    measured = macro_f1_difference(pair(perfect, always_a), policy, seed=1)
    # F1 of a is 2 · 3 / (3 + 4), of b 0; c has no rows and does not count.
    assert measured.value == pytest.approx(1 - 3 / 7)
    assert 0 <= measured.low <= measured.high <= 1


def plain_bootstrap(values: list[float], confidence: float, samples: int, seed: int) -> tuple[float, float]:
    """Draw rows with replacement, take the mean, again and again."""
    random = np.random.default_rng(seed)
    means = [np.mean([values[random.integers(len(values))] for _ in range(len(values))]) for _ in range(samples)]
    tail = (1 - confidence) / 2
    return float(np.quantile(means, tail)), float(np.quantile(means, 1 - tail))


@pytest.mark.parametrize(
    "values",
    [
        [1] * 90 + [0] * 30,
        [1] * 20 + [0] * 90 + [-1] * 10,
        list(np.random.default_rng(5).normal(size=230)),  # every value another: rows are drawn
    ],
    ids=["accuracy", "difference", "real numbers"],
)
def test_the_interval_is_that_of_resampling_rows_one_by_one(values: list[float]) -> None:
    interval = bootstrap_mean(np.array(values), 0.9, 20_000, seed=1)
    low, high = plain_bootstrap(values, 0.9, 2_000, seed=2)
    width = high - low
    assert interval.value == pytest.approx(np.mean(values))
    assert interval.low == pytest.approx(low, abs=0.06 * width)
    assert interval.high == pytest.approx(high, abs=0.06 * width)


def test_drawing_rows_and_drawing_counts_give_the_same_interval() -> None:
    values = np.array([1.0] * 300 + [0.0] * 100)
    counted = bootstrap_mean(values, 0.9, 5_000, seed=1)
    drawn = bootstrap_mean(values + np.linspace(0, 1e-9, 400), 0.9, 5_000, seed=1)  # too many distinct values to count
    assert counted.low == pytest.approx(drawn.low, abs=0.004)
    assert counted.high == pytest.approx(drawn.high, abs=0.004)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    intervals = [bootstrap_mean(random.random(400) < 0.8, 0.9, 500, seed) for seed in range(300)]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert covered == pytest.approx(0.9, abs=0.06)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=50), st.floats(0.5, 0.99), st.integers(0, 2**31 - 1))
def test_an_interval_is_ordered_and_within_the_range_of_the_values(
    values: list[float], confidence: float, seed: int
) -> None:
    interval = bootstrap_mean(np.array(values), confidence, 100, seed)
    assert min(values) <= interval.low <= interval.high <= max(values)


def test_more_confidence_is_a_wider_interval() -> None:
    values = np.array([1] * 80 + [0] * 20)
    wide, narrow = (bootstrap_mean(values, confidence, 5_000, seed=1) for confidence in (0.99, 0.8))
    assert wide.low < narrow.low < 0.8 < narrow.high < wide.high


def test_rows_that_are_all_alike_leave_no_doubt() -> None:
    interval = bootstrap_mean(np.ones(10), 0.95, 100, seed=1)
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("values", [[1] * 90 + [0] * 30, list(np.random.default_rng(5).normal(size=300))])
def test_the_interval_is_a_function_of_the_seed(values: list[float]) -> None:
    one, again, other = (bootstrap_mean(np.array(values), 0.9, 300, seed) for seed in (1, 1, 2))
    assert one == again != other
