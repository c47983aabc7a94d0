"""The bootstrap of macro F1 and of negative log-likelihood, against rows that are really drawn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from headway.evaluation.predictions import Predictions
from headway.params import GateParams, Params
from headway.registry.differences import macro_f1_difference, nll_difference
from headway.registry.pairing import Pair, pair

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
def compared() -> Pair:
    labels = np.random.default_rng(0).choice(3, 500, p=[0.6, 0.37, 0.03])
    return pair(scattered(labels, 0.8, seed=1), scattered(labels, 0.7, seed=2))


def macro_f1(truth: np.ndarray, guesses: np.ndarray) -> float:
    return float(f1_score(truth, guesses, labels=np.unique(truth), average="macro", zero_division=0))


def test_macro_f1_and_its_interval_are_those_of_drawn_rows(compared: Pair, policy: GateParams) -> None:
    measured = macro_f1_difference(compared, policy, seed=1)
    truth, (first, second) = compared.truth, compared.guesses
    assert measured.value == pytest.approx(macro_f1(truth, first) - macro_f1(truth, second))
    random = np.random.default_rng(3)
    draws = [random.integers(0, len(truth), len(truth)) for _ in range(1500)]
    drawn = [macro_f1(truth[rows], first[rows]) - macro_f1(truth[rows], second[rows]) for rows in draws]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert measured.low == pytest.approx(low, abs=0.015)
    assert measured.high == pytest.approx(high, abs=0.015)
    assert high - low > 0.1


def test_negative_log_likelihood_is_that_of_the_true_labels(compared: Pair, policy: GateParams) -> None:
    measured = nll_difference(compared.first, compared.second, policy, seed=1)
    rows = np.arange(len(compared.truth))
    first, second = (-np.log(one.probabilities[rows, compared.truth]) for one in (compared.first, compared.second))
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
