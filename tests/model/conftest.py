"""Fixtures of the model's tests: small classifiers without randomness, fast enough to run hundreds of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from headway.model.classifier import AttentionClassifier
from headway.params import ModelParams

torch.set_num_threads(1)  # a second one only costs time where everything is tiny

SMALL = {
    "encoder": "scratch",
    "max_length": 512,
    "d_model": 8,
    "n_heads": 2,
    "n_layers": 2,
    "dim_feedforward": 12,
    "similarity": "inner_product",
    "window_size": 4,
    "bigram_buckets": 101,
    "bigram_dropout": 0.0,
    "embedding_dropout": 0.0,
    "dropout": 0.0,
}
VOCABULARY_SIZE = 20


@pytest.fixture(scope="session")
def sizes() -> Callable[..., ModelParams]:
    """Makes the model section of params.yaml, small, with the knobs that a test cares about changed."""
    return lambda **changes: ModelParams.model_validate({**SMALL, **changes})


@pytest.fixture(scope="session")
def classifier(sizes: Callable[..., ModelParams]) -> Callable[..., AttentionClassifier]:
    """Makes a small classifier in evaluation mode.

    All of its parameters are random, also those that start at zero: a zero would hide what a test looks for.
    """

    def make(n_classes: int = 3, **changes: Any) -> AttentionClassifier:
        torch.manual_seed(5)
        made = AttentionClassifier(sizes(**changes), VOCABULARY_SIZE, n_classes)
        with torch.no_grad():
            for weight in made.parameters():
                if not weight.any():
                    weight.normal_()
            if made.params.bigram_buckets:
                made.bigram_embedding.weight[0] = 0  # as it is for ever
        return made.eval()

    return make
