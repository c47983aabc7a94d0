"""The linear part: features and fit agree with the equations, written out over tuples of tokens."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from headway.data.batching.datamodule import in_batches, subset
from headway.data.tokenization.encoded import EncodedTexts
from headway.model import logistic
from headway.model.combination import PRIOR
from headway.model.ngrams import NgramClassifier, ngrams
from headway.params import NgramParams

KNOBS = {
    "max_order": 2,
    "max_words": 2,
    "min_document_frequency": 1,
    "max_features": 10_000,
    "inverse_regularisation": [5.0],
    "scaling": "log_count_ratio",
}
Texts = list[list[int]]
TEXTS = st.lists(st.lists(st.integers(1, 6), max_size=9), min_size=1, max_size=6)


def knobs(**changes: Any) -> NgramParams:
    return NgramParams.model_validate({**KNOBS, **changes})


def padded(texts: Texts) -> Tensor:
    longest = max(map(len, texts))
    return torch.tensor([text + [0] * (longest - len(text)) for text in texts], dtype=torch.int64).view(len(texts), longest)


def tuples(text: list[int], max_order: int) -> list[tuple[int, ...]]:
    return [tuple(text[start : start + n]) for n in range(1, max_order + 1) for start in range(len(text) - n + 1)]


def key(ngram: tuple[int, ...]) -> int:
    (found,) = ngrams(torch.tensor([ngram]), len(ngram))[1][-1:].tolist()
    return int(found)


def fit(texts: Texts, labels: list[int], n_classes: int, balanced: bool = False, **changes: Any) -> NgramClassifier:
    batches = [(padded(texts), torch.tensor(labels))]
    return NgramClassifier.fit(batches, batches, n_classes, knobs(**changes), balanced)


@given(TEXTS, st.integers(1, 4))
def test_every_ngram_of_every_text_is_found_as_often_as_it_occurs(texts: Texts, max_order: int) -> None:
    rows, keys = ngrams(padded(texts), max_order)
    expected = Counter((row, key(ngram)) for row, text in enumerate(texts) for ngram in tuples(text, max_order))
    assert Counter(zip(rows.tolist(), keys.tolist(), strict=True)) == expected


def test_different_ngrams_have_different_hashes() -> None:
    """All pairs of a thousand numbers, and as many triples: a hash of 32 bits would have hundreds of collisions."""
    pairs = torch.cartesian_prod(torch.arange(1, 1001), torch.arange(1, 1001))
    triples = torch.cartesian_prod(*[torch.arange(1, 101)] * 3)
    found = [torch.arange(1, 1001)] + [ngrams(some, some.shape[1])[1][-len(some) :] for some in (pairs, triples)]
    keys = torch.cat([ngrams(found[0][:, None], 1)[1], *found[1:]])
    assert len(keys.unique()) == len(keys) == 2_001_000


def textbook(texts: Texts, labels: list[int], n_classes: int, params: NgramParams) -> tuple[list[tuple[int, ...]], Any]:
    """The n-grams and a function from texts to logits, computed by the equations in the module's docstring."""
    holds = [set(tuples(text, params.max_order)) for text in texts]
    frequency = Counter(ngram for some in holds for ngram in some)
    known = sorted(ngram for ngram, count in frequency.items() if count >= params.min_document_frequency)
    p = np.array(
        [[sum(f in h for h, y in zip(holds, labels, strict=True) if y == c) for c in range(n_classes)] for f in known]
    )
    q = p.sum(axis=1, keepdims=True) - p
    r = np.log((p + 1) / (p.sum(axis=0) + len(known))) - np.log((q + 1) / (q.sum(axis=0) + len(known)))
    n_texts = p.sum(axis=1)
    idf = np.log((1 + len(texts)) / (1 + n_texts)) + 1
    scale = np.abs(r).max(axis=1) if params.scaling == "log_count_ratio" else idf

    def features(some: Texts) -> np.ndarray:
        x = np.zeros((len(some), len(known)))
        for row, text in enumerate(some):
            counts = Counter(tuples(text, params.max_order))
            for column, ngram in enumerate(known):
                x[row, column] = 1 + math.log(counts[ngram]) if counts[ngram] else 0
        lengths = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(lengths > 0, lengths, 1) * scale

    length = np.sqrt(np.square(features(texts)).sum(axis=1).mean())
    solver = LogisticRegression(C=params.inverse_regularisation[0], max_iter=5_000, tol=1e-10)
    solver.fit(features(texts) / length, labels)
    return known, lambda some: solver.predict_log_proba(features(some) / length)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_order": 3},
        {"min_document_frequency": 2},
        {"inverse_regularisation": [0.3]},
        {"scaling": "inverse_document_frequency"},
    ],
)
def test_the_fit_is_that_of_the_equations(n_classes: int, changes: dict[str, Any]) -> None:
    random = np.random.default_rng(3)
    labels = [row % n_classes for row in range(24)]
    texts = [random.integers(1 + label, 5 + label, random.integers(1, 8)).tolist() for label in labels]
    others = [random.integers(1, 9, random.integers(1, 8)).tolist() for _ in range(20)]
    known, log_probabilities = textbook(texts, labels, n_classes, knobs(**changes))
    fitted = fit(texts, labels, n_classes, **changes)
    assert fitted.keys.tolist() == sorted(map(key, known))
    for some in (texts, others):
        found = fitted(padded(some)).log_softmax(dim=1).numpy()
        np.testing.assert_allclose(found, log_probabilities(some), atol=5e-3)


@settings(deadline=None)
@given(TEXTS)
def test_a_text_has_the_logits_it_has_alone_and_the_bias_when_nothing_is_known(texts: Texts) -> None:
    model = fit([[1, 2, 3], [3, 2], [2, 2, 4], [4, 1]], [0, 1, 0, 1], 2)
    together = model(padded([*texts, [5, 6], [1, 2, 3, 4, 1, 2]]))
    alone = [model(padded([text]))[0] if text else model.bias for text in texts]
    torch.testing.assert_close(together[: len(texts)], torch.stack(alone))
    torch.testing.assert_close(together[-2], model.bias)


def test_the_most_frequent_ngrams_are_kept() -> None:
    texts, labels = [[1, 2], [1, 3], [1, 2], [4, 2]], [0, 1, 0, 1]
    assert fit(texts, labels, 2, max_features=2).keys.tolist() == sorted([key((1,)), key((2,))])
    assert set(fit(texts, labels, 2, min_document_frequency=2).keys.tolist()) == {key((1,)), key((2,)), key((1, 2))}


def test_a_class_without_texts_gets_a_low_bias_and_the_others_are_learned() -> None:
    model = fit([[1, 2], [3, 4], [1, 1], [4, 3]] * 5, [0, 2, 0, 2] * 5, 3)
    probabilities = model(padded([[1, 2], [3, 4]])).softmax(dim=1)
    assert probabilities.argmax(dim=1).tolist() == [0, 2]
    assert (probabilities[:, 1] < 0.1).all()


@pytest.mark.parametrize("labels", [[0, 0], [0, 1]])
def test_without_ngrams_or_with_one_class_the_bias_is_the_class_shares(labels: list[int]) -> None:
    model = fit([[1], [2]], labels, 2, min_document_frequency=2)
    assert len(model.keys) == 0
    shares = (np.bincount(labels, minlength=2) + 1) / 4
    np.testing.assert_allclose(model(padded([[1, 2], [3]])).softmax(dim=1), [shares] * 2, atol=1e-6)


def test_balanced_classes_have_equal_weight() -> None:
    texts, labels = [[1, 2]] * 18 + [[1, 3]] * 2, [0] * 18 + [1] * 2
    plain, balanced = (fit(texts, labels, 2, balanced=chosen, inverse_regularisation=[0.01]) for chosen in (False, True))
    assert plain(padded([[1]])).argmax() == 0
    assert balanced(padded([[1, 3]])).argmax() == 1 != plain(padded([[1, 3]])).argmax()


def test_batches_do_not_matter_and_real_sentences_are_classified(reviews: Any) -> None:
    splits = {name: EncodedTexts.open(reviews.layout.encoded / f"{name}.arrow") for name in ("train", "validation")}
    train = subset(splits["train"], np.arange(min(2_000, len(splits["train"]))))
    validation = in_batches(splits["validation"])
    fitted = NgramClassifier.fit(in_batches(train), validation, 2, knobs(min_document_frequency=2))
    # One text a batch, in another order.
    single = [
        (torch.from_numpy(train[row][None].astype(np.int64)), torch.tensor([train.labels[row]])) for row in range(len(train))
    ]
    again = NgramClassifier.fit(single, validation, 2, knobs(min_document_frequency=2))
    assert torch.equal(fitted.keys, again.keys)
    tokens, labels = next(iter(in_batches(splits["validation"])))
    torch.testing.assert_close(fitted(tokens), again(tokens), atol=0.02, rtol=0.02)
    assert (fitted(tokens).argmax(dim=1) == labels).float().mean() > 0.6


@pytest.mark.parametrize("strengths", [[0.03, 1.0, 30.0, 1000.0], [1000.0, 0.03, 30.0], [300.0, 3000.0], [2.0]])
def test_the_regularisation_with_the_lowest_validation_loss_is_chosen(reviews: Any, strengths: list[float]) -> None:
    train, validation = (EncodedTexts.open(reviews.layout.encoded / f"{name}.arrow") for name in ("train", "validation"))
    batches = in_batches(train), in_batches(validation)
    chosen = NgramClassifier.fit(*batches, 2, knobs(inverse_regularisation=strengths))
    alone = {C: NgramClassifier.fit(*batches, 2, knobs(inverse_regularisation=[C])) for C in strengths}

    def loss(model: NgramClassifier) -> float:
        """With the best of many temperatures."""
        logits, labels = (torch.cat(part) for part in zip(*((model(x), y) for x, y in batches[1]), strict=True))
        return min(
            F.cross_entropy(scale * logits, labels).item() + PRIOR * (scale - 1) ** 2 / len(labels)
            for scale in np.geomspace(0.01, 10, 400)
        )

    best = min(alone, key=lambda C: loss(alone[C]))
    assert chosen.inverse_regularisation == best
    assert loss(chosen) == pytest.approx(loss(alone[best]), abs=2e-3)


def test_uninformative_validation_texts_keep_the_strongest_regularisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.model.regularisation.fit_weights", lambda parts, labels: (torch.ones(1), 0.5))
    fitted = fit([[1, 2], [3, 4], [1, 1], [4, 3]] * 9, [0, 1, 0, 1] * 9, 2, inverse_regularisation=[10.0, 100.0, 1000.0])
    assert fitted.inverse_regularisation == 10


def test_no_weaker_regularisation_is_tried_once_the_loss_rises(reviews: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = [EncodedTexts.open(reviews.layout.encoded / f"{name}.arrow") for name in ("train", "validation")]
    batches = [in_batches(some) for some in splits]
    tried = []
    take = logistic.fit
    monkeypatch.setattr(logistic, "fit", lambda *args, **more: [tried.append(args[1]), take(*args, **more)][1])
    fitted = NgramClassifier.fit(*batches, 2, knobs(inverse_regularisation=[1e4, 1.0, 1e3, 1e2, 1e5]))
    assert fitted.inverse_regularisation < 1e4
    assert tried == sorted(tried)
    assert tried[-2] == fitted.inverse_regularisation
