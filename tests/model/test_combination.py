"""The combination of the two parts: their weights are the most likely ones, and logits are the weighted sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from headway.data.tokenization.tokenizer import truncate
from headway.model.classifier import AttentionClassifier, clip
from headway.model.combination import PRIOR
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier

Make = Callable[..., AttentionClassifier]


def logits_of(labels: Tensor, sharpness: float, seed: int) -> Tensor:
    """Logits that are correct more often than not."""
    random = torch.Generator().manual_seed(seed)
    return sharpness * (F.one_hot(labels, 3) + torch.randn(len(labels), 3, generator=random))


@pytest.fixture
def rows() -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.arange(600) % 3
    return logits_of(labels, 4.0, 1), logits_of(labels, 0.5, 2), labels


def test_the_weights_are_the_best_of_a_fine_grid(classifier: Make, rows: tuple[Tensor, Tensor, Tensor]) -> None:
    first, second, labels = rows
    model = JointClassifier(NgramClassifier(1, 3, 1), classifier(3))
    model.fit_weights(first, second, labels)

    def loss(weights: Any) -> float:
        a, b = (float(value) for value in weights)
        likelihood = F.cross_entropy(a * first + b * second, labels, reduction="sum").item()
        return likelihood + PRIOR * ((a - 1) ** 2 + (b - 1) ** 2)

    grid = [(a, b) for a in np.linspace(0, 1.5, 31) for b in np.linspace(0, 4, 41)]
    assert loss(model.weights) <= min(map(loss, grid)) + 1e-3
    # The overconfident part gets a low weight, the underconfident one a high weight.
    assert model.weights[0] < 0.6
    assert model.weights[1] > 1.2


@pytest.mark.parametrize("spoilt", [0.3, 1.0, 4.0])
def test_the_weight_of_a_single_part_corrects_over_and_underconfidence(classifier: Make, spoilt: float) -> None:
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(20_000, 3, generator=random)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=random)[:, 0]
    model = JointClassifier(None, classifier(3))
    model.fit_weights(torch.zeros_like(logits), spoilt * logits, labels)
    assert model.weights[1] == pytest.approx(1 / spoilt, rel=0.06)


def test_the_weight_of_a_misleading_part_is_zero_not_negative(classifier: Make, rows: tuple[Tensor, Tensor, Tensor]) -> None:
    first, second, labels = rows
    model = JointClassifier(NgramClassifier(1, 3, 1), classifier(3))
    model.fit_weights(first, -5 * second, labels)
    assert model.weights[1] == 0


def test_with_very_few_rows_both_weights_stay_near_one(classifier: Make) -> None:
    model = JointClassifier(NgramClassifier(1, 3, 1), classifier(3))
    model.fit_weights(torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(model.weights, torch.ones(2), atol=0.01, rtol=0)


def test_the_logits_are_the_weighted_sum_of_the_parts(classifier: Make) -> None:
    attention, ngrams = classifier(3), NgramClassifier(4, 3, 1)
    ngrams.keys = torch.tensor([2, 3, 4, 5])
    ngrams.weight.normal_(generator=torch.Generator().manual_seed(0))
    model = JointClassifier(ngrams, attention).eval()
    model.weights = torch.tensor([0.7, 0.3])
    tokens = torch.tensor([[1, 2, 3, 4], [4, 4, 0, 0]])
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens), 0.7 * ngrams(tokens) + 0.3 * attention(tokens))
        alone = JointClassifier(None, attention).eval()
        torch.testing.assert_close(alone(tokens), attention(tokens))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=20), min_size=1, max_size=5), st.integers(2, 12))
def test_clipping_a_batch_is_clipping_each_of_its_texts(texts: list[list[int]], max_length: int) -> None:
    longest = max(map(len, texts))
    clipped = clip(torch.tensor([text + [0] * (longest - len(text)) for text in texts]), max_length)
    assert clipped.shape == (len(texts), min(longest, max_length))
    for row, text in zip(clipped.tolist(), texts, strict=True):
        expected = truncate(np.array(text), max_length).tolist()
        assert row == expected + [0] * (len(row) - len(expected))
