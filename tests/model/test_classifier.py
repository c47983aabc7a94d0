"""The attention classifier: padding is ignored, trained bigrams add information, and dropout applies in training only."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from headway.model.classifier import BIGRAM_MULTIPLIER, EMBEDDING_SPREAD, AttentionClassifier, AttentionPooling, resolved
from headway.params import ModelParams

Make = Callable[..., AttentionClassifier]
VOCABULARY_SIZE = 20
texts = st.lists(st.lists(st.integers(1, VOCABULARY_SIZE - 1), min_size=1, max_size=13), min_size=1, max_size=5)


def pad(rows: list[list[int]], length: int = 0) -> torch.Tensor:
    T = max(length, *map(len, rows))
    return torch.tensor([row + [0] * (T - len(row)) for row in rows])


@settings(max_examples=40, deadline=None)
@given(texts, st.integers(0, 6), st.sampled_from([0, 4, 5]), st.sampled_from([0, 101]))
def test_a_padded_batch_gives_each_text_the_logits_it_gets_alone(
    classifier: Make, rows: list[list[int]], more_padding: int, window_size: int, bigram_buckets: int
) -> None:
    model = classifier(window_size=window_size, bigram_buckets=bigram_buckets)
    together = model(pad(rows, max(map(len, rows)) + more_padding))
    alone = torch.cat([model(torch.tensor([row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [3, 4, 5, 7, 8, 9])
def test_padding_is_invisible_around_multiples_of_the_window_size(classifier: Make, length: int) -> None:
    model = classifier(window_size=4)
    row = [1 + index % 19 for index in range(length)]
    alone = model(torch.tensor([row]))
    for padded_length in range(length, 18):
        torch.testing.assert_close(model(pad([row], padded_length)), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 50])
@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
def test_there_is_one_logit_per_class(classifier: Make, n_classes: int, similarity: str) -> None:
    logits = classifier(n_classes, similarity=similarity)(pad([[1, 2, 3], [4], [5, 6]]))
    assert logits.shape == (3, n_classes)
    assert logits.isfinite().all()
    assert logits.std() > 0


def test_every_class_is_equally_likely_before_training(sizes: Callable[..., ModelParams]) -> None:
    logits = AttentionClassifier(sizes(), VOCABULARY_SIZE, 3)(pad([[1, 2], [3]]))
    assert (logits.softmax(dim=1) == 1 / 3).all()


def test_untrained_bigrams_do_not_change_the_logits(sizes: Callable[..., ModelParams]) -> None:
    torch.manual_seed(0)
    with_pairs = AttentionClassifier(sizes(), VOCABULARY_SIZE, 3).eval()
    torch.nn.init.normal_(with_pairs.output.weight)
    without = AttentionClassifier(sizes(bigram_buckets=0), VOCABULARY_SIZE, 3).eval()
    left_over = without.load_state_dict(with_pairs.state_dict(), strict=False)
    assert left_over.unexpected_keys == ["bigram_embedding.weight"]  # 0 buckets: there is no such table
    assert not left_over.missing_keys
    tokens = pad([[1, 2, 3, 4], [5, 6]])
    assert with_pairs(tokens).std() > 0
    torch.testing.assert_close(with_pairs(tokens), without(tokens), rtol=0, atol=0)


def test_trained_bigrams_distinguish_two_orders_of_the_same_words(sizes: Callable[..., ModelParams]) -> None:
    torch.manual_seed(0)
    model = AttentionClassifier(sizes(), VOCABULARY_SIZE, 2).eval()
    readout = torch.randn(8, 2)
    tokens, labels = pad([[2, 3, 4], [4, 3, 2, 0]]), torch.tensor([0, 1])

    def logits() -> torch.Tensor:
        return model.embed(tokens).sum(dim=1) @ readout  # blind to order, but for the pairs

    assert torch.allclose(*logits(), atol=1e-6)
    optimiser = torch.optim.SparseAdam([model.bigram_embedding.weight], lr=0.1)
    for _ in range(50):
        optimiser.zero_grad()
        F.cross_entropy(logits(), labels).backward()
        optimiser.step()
    assert logits().argmax(dim=1).tolist() == [0, 1]
    touched = model.bigram_embedding.weight.any(dim=1).sum().item()
    assert not model.bigram_embedding.weight[0].any()  # which padding has
    assert touched == 6  # the three pairs of each text, of which the first is of its start and its first word


@pytest.mark.parametrize("pair_of", [(7, 0), (0, 0)])
def test_a_bigram_with_padding_does_not_affect_the_result(classifier: Make, pair_of: tuple[int, int]) -> None:
    model = classifier(bigram_buckets=4099, window_size=0)
    tokens = pad([[5, 6, 7], [8, 9, 10, 11, 12, 13]])
    before = model(tokens)
    with torch.no_grad():
        model.bigram_embedding.weight[1 + (pair_of[0] * BIGRAM_MULTIPLIER + pair_of[1]) % 4099] = 1_000
    torch.testing.assert_close(model(tokens), before)
    with torch.no_grad():
        model.bigram_embedding.weight[1 + (6 * BIGRAM_MULTIPLIER + 7) % 4099] = 1_000
    assert not torch.allclose(model(tokens)[0], before[0])  # a real pair does


@pytest.mark.parametrize("n", [3, 8, 30])
def test_embeddings_initialised_from_vectors_keep_their_angles(sizes: Callable[..., ModelParams], n: int) -> None:
    """Eight features hold the angles between eight vectors and their mean exactly; the spread is that of random embeddings."""
    torch.manual_seed(0)
    model = AttentionClassifier(sizes(), VOCABULARY_SIZE, 3)
    before = model.embedding.weight.detach().clone()
    vectors = torch.zeros(VOCABULARY_SIZE, n)
    known = torch.arange(VOCABULARY_SIZE) % 3 == 2
    known[14:] = False
    vectors[known] = 5 + 40 * torch.randn(int(known.sum()), n)
    model.start_from(vectors)
    after = model.embedding.weight.detach()
    assert torch.equal(after[~known], before[~known])
    assert torch.equal(after[known, n:], before[known, n:])  # beyond what the vectors have
    started = after[known, :n].double()
    assert started.std().item() == pytest.approx(EMBEDDING_SPREAD, rel=0.1)
    centred = F.normalize(vectors[known].double() - vectors[known].double().mean(dim=0))
    angles = centred @ centred.T
    torch.testing.assert_close(F.normalize(started) @ F.normalize(started).T, angles, rtol=0, atol=1e-5)


def test_the_principal_components_with_the_largest_variance_are_kept(sizes: Callable[..., ModelParams]) -> None:
    torch.manual_seed(0)
    model = AttentionClassifier(sizes(), 200, 3)
    spread = torch.tensor([1.0] * 8 + [1e-3] * 20)
    vectors = torch.randn(200, 28) * spread[torch.randperm(28)]
    model.start_from(vectors)
    wide = vectors[:, vectors.std(dim=0) > 0.1]
    wide = F.normalize(wide - wide.mean(dim=0))
    started = F.normalize(model.embedding.weight.detach())
    torch.testing.assert_close(started @ started.T, wide @ wide.T, rtol=0, atol=0.02)


def test_features_of_the_embeddings_are_dropped_in_training_only(classifier: Make) -> None:
    model = classifier(embedding_dropout=0.5)
    tokens = torch.randint(1, VOCABULARY_SIZE, (4, 6))
    assert torch.equal(model(tokens), model(tokens))
    seen: list[torch.Tensor] = []
    model.train().encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(tokens)
    dropped = (seen[0] == 0).all(dim=1)  # (4, d): features that are gone at all positions
    assert dropped.float().mean().item() == pytest.approx(0.5, abs=0.25)


def test_bigrams_are_dropped_in_training_only(classifier: Make) -> None:
    model = classifier(bigram_dropout=0.5)
    tokens = torch.randint(1, VOCABULARY_SIZE, (200, 20))
    words, both = model.embedding(tokens), model.embed(tokens)
    blanked = model.train().embed(tokens)
    alone = torch.isclose(blanked, words, atol=1e-6).all(dim=-1)
    assert alone.float().mean().item() == pytest.approx(0.5, abs=0.04)
    torch.testing.assert_close(blanked[~alone], (words + 2 * (both - words))[~alone])


def test_a_dropped_bigram_is_not_looked_up(classifier: Make) -> None:
    model = classifier(bigram_dropout=0.5, bigram_buckets=4099).train()
    tokens = pad([[5, 6, 7, 8, 9], [10, 11]])
    model.embed(tokens).sum().backward()
    rows = model.bigram_embedding.weight.grad.coalesce().indices()[0].tolist()
    pairs = {
        1 + (first * BIGRAM_MULTIPLIER + second) % 4099 for text in tokens for first, second in pairwise([0, *text.tolist()])
    }
    assert 0 not in rows
    assert set(rows) < pairs


def test_pooling_ignores_padding(sizes: Callable[..., ModelParams]) -> None:
    torch.manual_seed(0)
    pooling = AttentionPooling(8, 2)
    x = torch.randn(1, 6, 8)
    mask = torch.tensor([[True, True, True, False, False, False]])
    pooled = pooling(x, mask)
    assert pooled.shape == (1, pooling.d_out)
    torch.testing.assert_close(pooled[0, 8:], x[0, :3].mean(dim=0))
    weights = pooling.score(x[0, :3]).softmax(dim=0)  # (3, heads)
    torch.testing.assert_close(pooling.weights(x, mask)[0, :3], weights)
    assert (pooling.weights(x, mask)[0, 3:] == 0).all()
    torch.testing.assert_close(pooled[0, :4], weights[:, 0] @ x[0, :3, :4])
    torch.testing.assert_close(pooled[0, 4:8], weights[:, 1] @ x[0, :3, 4:])


@pytest.mark.parametrize(
    ("vocabulary_size", "buckets"), [(2, 8), (650, 2_048), (6_000, 32_768), (50_000, 262_144), (400_000, 262_144)]
)
def test_the_table_of_bigrams_grows_with_the_vocabulary(
    sizes: Callable[..., ModelParams], vocabulary_size: int, buckets: int
) -> None:
    params = sizes(bigram_buckets="auto")
    assert resolved(params, vocabulary_size).bigram_buckets == buckets
    assert resolved(sizes(bigram_buckets=7), vocabulary_size).bigram_buckets == 7


def test_the_params_of_a_classifier_say_how_many_bigrams_it_has(sizes: Callable[..., ModelParams]) -> None:
    made = AttentionClassifier(sizes(bigram_buckets="auto"), 650, 3)
    assert made.params.bigram_buckets == len(made.bigram_embedding.weight) - 1 == 2_048
