"""The encoder: tokens attend within windows, padding is ignored, and dropout drops whole features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from headway.model.attention import SelfAttention, rotations
from headway.model.encoder import Block, Encoder, SequenceDropout
from headway.params import ModelParams

Sizes = Callable[..., ModelParams]
BLOCK = 4


def encoder(sizes: Sizes, window_size: int) -> Encoder:
    torch.manual_seed(2)
    return Encoder(sizes(window_size=window_size)).eval()


def right_padded(lengths: list[int], length: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Random vectors and the mask of texts of these lengths."""
    T = length or max(lengths)
    torch.manual_seed(7)
    return torch.randn(len(lengths), T, 8), torch.arange(T) < torch.tensor(lengths)[:, None]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3 * BLOCK + 1), min_size=1, max_size=5), st.sampled_from([0, 1, BLOCK, 100]))
def test_a_padded_batch_encodes_each_text_as_alone(sizes: Sizes, lengths: list[int], window_size: int) -> None:
    model = encoder(sizes, window_size)
    x, mask = right_padded(lengths)
    together = model(x, mask)
    assert together.shape == x.shape
    for row, length in enumerate(lengths):
        alone = model(x[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window_size", [0, 1, BLOCK])
def test_both_paths_agree_where_windows_contain_only_padding(
    sizes: Sizes, window_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = encoder(sizes, window_size)
    x, mask = right_padded([1, 3 * BLOCK, BLOCK], 3 * BLOCK + 1)
    fast = model(x, mask)
    # PyTorch's fused kernel gives 0 where a softmax has no score; the equations give no number at all.
    monkeypatch.setattr(SelfAttention, "forward", lambda *given: SelfAttention.forward_with_weights(*given)[0])
    plain = model(x, mask)
    assert plain.isfinite().all()
    torch.testing.assert_close(fast[mask], plain[mask], rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 3 * BLOCK + 1), min_size=1, max_size=5),
    st.sampled_from([0, 1, BLOCK, 100]),
    st.sampled_from(["inner_product", "cosine"]),
)
def test_both_paths_agree_and_weights_sum_to_one_within_a_window(
    sizes: Sizes, lengths: list[int], window_size: int, similarity: str
) -> None:
    torch.manual_seed(2)
    model = Encoder(sizes(window_size=window_size, similarity=similarity)).eval()
    x, mask = right_padded(lengths)
    encoded, weights = model.forward_with_weights(x, mask)
    torch.testing.assert_close(encoded[mask], model(x, mask)[mask], rtol=1e-4, atol=1e-5)
    assert len(weights) == len(model.blocks)
    size = window_size if 0 < window_size < max(lengths) else max(lengths)
    for layer in weights:
        assert layer.shape == (len(lengths), -(-max(lengths) // size), 2, size, size)
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(layer.shape[:-1]))
        for row, length in enumerate(lengths):
            last, used = divmod(length - 1, size)
            assert (layer[row, last, :, :, used + 1 :] == 0).all()


def test_a_token_affects_its_own_window_only(sizes: Sizes) -> None:
    model = encoder(sizes, BLOCK)
    x, mask = right_padded([3 * BLOCK])
    changed = x.clone()
    changed[0, BLOCK + 1, 0] += 1
    moved = (model(x, mask) - model(changed, mask)).abs().sum(dim=-1)[0] > 1e-4
    assert moved.tolist() == [False] * BLOCK + [True] * BLOCK + [False] * BLOCK


def test_without_windows_a_token_affects_all_others(sizes: Sizes) -> None:
    model = encoder(sizes, 0)
    x, mask = right_padded([3 * BLOCK])
    changed = x.clone()
    changed[0, BLOCK + 1, 0] += 1
    assert ((model(x, mask) - model(changed, mask)).abs().sum(dim=-1) > 1e-6).all()


@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
def test_an_encoder_is_its_blocks_in_sequence_and_a_norm(sizes: Sizes, similarity: str) -> None:
    torch.manual_seed(2)
    model = Encoder(sizes(n_layers=3, dim_feedforward=20, window_size=0, similarity=similarity)).eval()
    torch.nn.init.normal_(model.norm.weight)
    x, mask = right_padded([5, 5])
    expected = x
    for number in range(3):
        block = model.blocks[number]
        assert block.expand.out_features == block.contract.in_features == 20
        assert block.attention.similarity == similarity
        expected = block(expected, mask, rotations(5, 4))
    assert len(model.blocks) == 3
    torch.testing.assert_close(model(x, mask), model.norm(expected))


def test_sequence_dropout_drops_a_feature_at_all_positions_of_a_text() -> None:
    torch.manual_seed(0)
    dropped = SequenceDropout(0.5).train()(torch.ones(20, 7, 16))
    assert (dropped == dropped[:, :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert len({tuple(row) for row in dropped[:, 0].tolist()}) > 15  # each text has a mask of its own


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 0.9))
def test_sequence_dropout_keeps_the_expectation(p: float) -> None:
    torch.manual_seed(0)
    n = 40_000
    mean = SequenceDropout(p).train()(torch.ones(n, 1, 1)).mean().item()
    assert mean == pytest.approx(1, abs=5 * (p / (1 - p) / n) ** 0.5)  # five standard deviations


def test_a_block_normalises_the_input_of_both_its_parts(sizes: Sizes) -> None:
    torch.manual_seed(3)
    block = Block(sizes(dropout=0.5)).eval()
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    x, mask = right_padded([3, 4])
    rotation = rotations(4, 4)
    attended = x + block.attention(block.attention_norm(x), mask, rotation)
    expanded = F.linear(block.feedforward_norm(attended), block.expand.weight, block.expand.bias)
    fed = attended + F.linear(F.gelu(expanded), block.contract.weight, block.contract.bias)
    torch.testing.assert_close(block(x, mask, rotation), fed)


def test_training_drops_features_of_both_parts_of_a_block(sizes: Sizes) -> None:
    torch.manual_seed(3)
    block = Block(sizes(dropout=0.5)).train()
    x, mask = right_padded([4, 4])
    added = block(x, mask, rotations(4, 4)) - x
    assert not torch.equal(block(x, mask, rotations(4, 4)) - x, added)
    with torch.no_grad():
        block.contract.weight.zero_()
        block.contract.bias.zero_()
    attended = block(x, mask, rotations(4, 4)) - x
    assert (attended == 0).all(dim=1).any(), "no feature of the attention is dropped at all positions of a text"
    with torch.no_grad():
        block.contract.weight.normal_()
        block.attention.output.weight.zero_()
        block.attention.output.bias.zero_()
    fed = block(x, mask, rotations(4, 4)) - x
    assert (fed == 0).all(dim=1).any(), "no feature of the feed-forward part is dropped at all positions of a text"


def test_sequence_dropout_does_nothing_in_evaluation() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(SequenceDropout(0.9).eval()(x), x)
