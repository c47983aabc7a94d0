"""A small package with random weights, which tests of serving share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from headway.data.batching import pad
from headway.data.tokenization import tokenizer as tokenization
from headway.data.tokenization.tokenizer import TextEncoder
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.serving import package

CLASSES = ["negative", "positive", "unsure"]
MAX_LENGTH = 40
TEXTS = [
    "a charming , funny and quietly moving film",
    "tedious",
    "the plot is a mess and nobody seems to care " * 20,
    "🤷 zxqv",
    "it is neither good nor bad .",
]


@pytest.fixture(scope="package")
def tokenizer_file(reviews: Any) -> Path:
    return Path(reviews.layout.encoded / "tokenizer.json")


@pytest.fixture(scope="package")
def classifier(reviews: Any, tokenizer_file: Path) -> JointClassifier:
    """With random weights everywhere, because an untrained classifier gives equal probabilities."""
    sizes = reviews.params.override({"model.d_model": 8, "model.window_size": 16, "model.bigram_buckets": 64}).model
    torch.manual_seed(0)
    tokenizer = tokenization.load(tokenizer_file)
    attention = AttentionClassifier(sizes, tokenizer.get_vocab_size(), len(CLASSES))
    keys = ngrams(pad(TextEncoder(tokenizer, MAX_LENGTH)(TEXTS[:2])), 2)[1].unique()
    linear = NgramClassifier(len(keys), len(CLASSES), 2)
    linear.keys = keys
    made = JointClassifier(linear, attention)
    with torch.no_grad():
        for weight in (*attention.parameters(), linear.weight):
            weight.normal_()
        made.weights[:] = torch.tensor([0.41, 0.24])
    return made.eval()


@pytest.fixture(scope="package")
def saved(classifier: JointClassifier, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that tests only read."""
    return save(tmp_path_factory.mktemp("package"), classifier, tokenizer_file)


def save(folder: Path, classifier: JointClassifier, tokenizer_file: Path) -> Path:
    """Write the package into an empty folder."""
    vocabulary_size = tokenization.load(tokenizer_file).get_vocab_size()
    package.save(folder, classifier, tokenizer_file, MAX_LENGTH, vocabulary_size, CLASSES)
    return folder
