"""Logistic regression on sparse features: the same solution as scikit-learn's, whatever the problem's shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from headway.model import logistic


def rows(n: int, n_features: int, n_classes: int, seed: int) -> tuple[csr_matrix, np.ndarray]:
    """A sparse matrix, a third of it not zero, and labels of which every class has one."""
    random = np.random.default_rng(seed)
    dense = random.normal(size=(n, n_features)) * (random.random((n, n_features)) < 0.3)
    labels = np.concatenate([np.arange(n_classes), random.integers(n_classes, size=n - n_classes)])
    return csr_matrix(dense.astype(np.float32)), labels


def logits(x: csr_matrix, labels: np.ndarray, C: float, row_weights: np.ndarray | None = None, n: int = 500) -> Tensor:
    problem = logistic.Problem(x, labels, int(labels.max()) + 1, row_weights)
    point = logistic.fit(problem, C, iterations=n)
    return logistic.logits_of(problem.rows @ problem.weights_of(point) + point.bias)


@settings(deadline=None, max_examples=25)
@example(n=8, n_features=1, n_classes=2, C=0.01, balanced=False, seed=5)  # the first gradient is small, most rows are zero
@given(
    n=st.integers(8, 40),
    n_features=st.integers(1, 50),
    n_classes=st.integers(2, 7),
    C=st.sampled_from([0.01, 1.0, 30.0]),
    balanced=st.booleans(),
    seed=st.integers(0, 99),
)
def test_probabilities_are_those_of_scikit_learn(
    n: int, n_features: int, n_classes: int, C: float, balanced: bool, seed: int
) -> None:
    x, labels = rows(n, n_features, n_classes, seed)
    solver = LogisticRegression(C=C, max_iter=10_000, tol=1e-10, class_weight="balanced" if balanced else None)
    expected = solver.fit(x.astype(np.float64), labels).predict_proba(x)
    row_weights = (n / n_classes / np.bincount(labels))[labels] if balanced else None
    found = logits(x, labels, C, row_weights).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_fit_that_starts_from_another_ends_at_the_same_minimum() -> None:
    x, labels = rows(60, 30, 4, 1)
    problem = logistic.Problem(x, labels, 4)
    warm = logistic.fit(problem, 10.0, logistic.fit(problem, 0.1), 500)
    cold = logistic.fit(problem, 10.0, iterations=500)
    torch.testing.assert_close(problem.weights_of(warm), problem.weights_of(cold), atol=5e-3, rtol=5e-3)


def test_the_image_of_a_point_is_the_product_with_its_weights() -> None:
    x, labels = rows(50, 80, 5, 2)
    problem = logistic.Problem(x, labels, 5)
    point = logistic.fit(problem, 100.0, iterations=60)
    torch.testing.assert_close(point.image, problem.rows @ problem.weights_of(point), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("width", [1, 3, 4, 9])
@pytest.mark.parametrize("n_features", [0, 1, 20])
def test_products_are_those_of_dense_matrices(width: int, n_features: int) -> None:
    x, _ = rows(12, n_features, 2, 3)
    dense = torch.randn(n_features, width, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(logistic.Rows(x) @ dense, torch.from_numpy(x.toarray()) @ dense)


def test_results_are_the_same_bits_in_every_run_and_nearly_so_with_other_threads() -> None:
    x, labels = rows(300, 200, 6, 5)
    threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 1, 2):
            torch.set_num_threads(n)
            found.append(logits(x, labels, 10.0, n=40))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_a_fit_ends_when_it_is_told_to() -> None:
    x, labels = rows(300, 90, 3, 6)
    asked: list[logistic.Point] = []
    stopped = logistic.fit(logistic.Problem(x, labels, 3), 1e4, iterations=80, stop=lambda now: [asked.append(now), True][1])
    assert len(asked) == 1
    assert torch.equal(stopped.a, logistic.fit(logistic.Problem(x, labels, 3), 1e4, iterations=logistic.STOP_EVERY).a)


@pytest.mark.parametrize(("n_features", "numbers"), [(90, 3 * 2 * (90 + 300)), (400, 3 * 2 * (300 + 300))])
def test_the_remembered_steps_take_at_most_the_given_numbers(
    n_features: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = rows(300, n_features, 3, 7)
    held: list[int] = []

    def direction(gradient: logistic.Point, pairs: list[tuple[logistic.Point, logistic.Point, float]]) -> logistic.Point:
        held.append(sum(part.a.numel() + part.image.numel() for pair in pairs for part in pair[:2]))
        return gradient.times(-1.0)

    monkeypatch.setattr(logistic, "_direction", direction)
    monkeypatch.setattr(logistic, "MAX_NUMBERS", 4 * numbers)
    logistic.fit(logistic.Problem(x, labels, 3), 1e4, iterations=logistic.PAIRS)
    assert max(held) == 4 * numbers
