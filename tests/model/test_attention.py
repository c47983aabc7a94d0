"""Self-attention against its equations, against PyTorch's own module, and its fast path against its plain one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from headway.model.attention import SelfAttention, rotate, rotations

SIMILARITIES = ["inner_product", "cosine"]
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


@dataclass
class Case:
    """An attention with random parameters, and a batch for it."""

    attention: SelfAttention
    x: Tensor  # (B, T, d_model)
    mask: Tensor  # (B, T), at least one True a row
    rotation: Tensor | None


@st.composite
def cases(draw: st.DrawFn, rotated: bool | None = None) -> Case:
    n_heads, half = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    similarity = draw(st.sampled_from(SIMILARITIES))
    turn = draw(st.booleans()) if rotated is None else rotated
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    real = st.lists(st.booleans(), min_size=length, max_size=length).filter(any)
    mask = torch.tensor(draw(st.lists(real, min_size=batch, max_size=batch)))
    torch.manual_seed(draw(st.integers(0, 10_000)))
    attention = random_attention(2 * half * n_heads, n_heads, similarity).to(dtype)
    x = torch.randn(batch, length, 2 * half * n_heads, dtype=dtype)
    return Case(attention, x, mask, rotations(length, 2 * half) if turn else None)


def random_attention(d_model: int, n_heads: int, similarity: str) -> SelfAttention:
    """An attention whose every parameter is random, the temperature of each head too."""
    attention = SelfAttention(d_model, n_heads, similarity)
    with torch.no_grad():
        for weight in attention.parameters():
            weight.normal_(std=0.7)
    return attention


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_fast_path_gives_what_the_plain_path_gives(case: Case) -> None:
    fast = case.attention(case.x, case.mask, case.rotation)
    plain, _ = case.attention.forward_with_weights(case.x, case.mask, case.rotation)
    tolerance = TOLERANCE[case.x.dtype]
    torch.testing.assert_close(fast, plain, rtol=tolerance, atol=tolerance)


@settings(max_examples=20, deadline=None)
@given(cases())
def test_the_fast_path_gives_what_the_plain_path_gives_in_bfloat16(case: Case) -> None:
    attention, x = case.attention.bfloat16(), case.x.bfloat16()
    fast = attention(x, case.mask, case.rotation)
    plain, _ = attention.forward_with_weights(x, case.mask, case.rotation)
    assert fast.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(fast, plain, rtol=0.05, atol=0.05 * plain.abs().max().item())


@settings(max_examples=40, deadline=None)
@given(cases())
def test_weights_of_each_position_sum_to_one_and_are_zero_at_padding(case: Case) -> None:
    _, weights = case.attention.forward_with_weights(case.x, case.mask, case.rotation)
    B, T, _ = case.x.shape
    assert weights.shape == (B, case.attention.n_heads, T, T)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
    assert (weights >= 0).all()
    assert (weights.transpose(-2, -1)[(~case.mask)[:, None, :].expand(-1, weights.shape[1], -1)] == 0).all()


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 1000))
def test_padding_does_not_affect_any_position(case: Case, seed: int) -> None:
    torch.manual_seed(seed)
    other = torch.where(case.mask[:, :, None], case.x, 100 * torch.randn_like(case.x))
    here = case.attention(case.x, case.mask, case.rotation)[case.mask]
    there = case.attention(other, case.mask, case.rotation)[case.mask]
    torch.testing.assert_close(here, there, rtol=0, atol=TOLERANCE[case.x.dtype])


@settings(max_examples=40, deadline=None)
@given(cases(rotated=False), st.randoms(use_true_random=False))
def test_without_rotation_permuting_the_positions_permutes_the_result(case: Case, random: object) -> None:
    order = list(range(case.x.shape[1]))
    random.shuffle(order)
    permuted = case.attention(case.x[:, order], case.mask[:, order])
    tolerance = TOLERANCE[case.x.dtype]
    torch.testing.assert_close(permuted, case.attention(case.x, case.mask)[:, order], rtol=tolerance, atol=tolerance)


def test_with_rotation_the_order_of_the_positions_matters() -> None:
    torch.manual_seed(0)
    attention, x, mask = random_attention(8, 2, "inner_product"), torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    order = [2, 0, 3, 1]
    rotation = rotations(4, 4)
    assert not torch.allclose(attention(x[:, order], mask, rotation), attention(x, mask, rotation)[:, order], atol=1e-2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 8), st.integers(0, 10_000))
def test_inner_product_attention_is_torch_multihead_attention(n_heads: int, half: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    d_model = 2 * half * n_heads
    ours = random_attention(d_model, n_heads, "inner_product").double()
    theirs = nn.MultiheadAttention(d_model, n_heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.query_key_value.weight)
        theirs.in_proj_bias.copy_(ours.query_key_value.bias)
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    x = torch.randn(2, length, d_model, dtype=torch.float64)
    mask = torch.arange(length) < torch.tensor([[length], [(length + 1) // 2]])
    expected, expected_weights = theirs(x, x, x, key_padding_mask=~mask, average_attn_weights=False)
    got, weights = ours.forward_with_weights(x, mask)
    torch.testing.assert_close(ours(x, mask), expected)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(weights, expected_weights)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_both_paths_are_the_equations_written_out(similarity: str) -> None:
    torch.manual_seed(3)
    n_heads, d_head, T = 2, 4, 5
    attention = random_attention(n_heads * d_head, n_heads, similarity).double()
    X = torch.randn(T, n_heads * d_head, dtype=torch.float64)
    real = [True, True, False, True, True]

    q, k, v = attention.query_key_value(X).detach().split(n_heads * d_head, dim=1)
    concatenated = torch.zeros_like(X)
    for h in range(n_heads):
        features = range(h * d_head, (h + 1) * d_head)
        for i in range(T):
            a = []
            for j in range(T):
                product = sum(q[i, f].item() * k[j, f].item() for f in features)
                if similarity == "cosine":
                    lengths = math.sqrt(
                        sum(q[i, f].item() ** 2 for f in features) * sum(k[j, f].item() ** 2 for f in features)
                    )
                    sim = math.exp(attention.log_scale[h].item()) * product / lengths
                else:
                    sim = product / math.sqrt(d_head)
                a.append(math.exp(sim) if real[j] else 0.0)
            for f in features:
                concatenated[i, f] = sum(a[j] / sum(a) * v[j, f].item() for j in range(T))
    W, b = attention.output.weight, attention.output.bias
    Y = torch.stack([W @ z + b for z in concatenated])

    mask = torch.tensor([real])
    torch.testing.assert_close(attention(X[None], mask)[0], Y)
    torch.testing.assert_close(attention.forward_with_weights(X[None], mask)[0][0], Y)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 10_000))
def test_the_score_of_rotated_vectors_depends_on_their_distance_alone(half: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    d_head = 2 * half
    q, k = torch.randn(2, d_head, dtype=torch.float64)
    rotation = rotations(length, d_head)
    turned_q, turned_k = rotate(torch.stack([q, k]).expand(1, length, 2, d_head), rotation)[0].unbind(1)  # each (T, d_head)
    scores = turned_q @ turned_k.T  # (T, T)
    for distance in range(-length + 1, length):
        same_distance = scores.diagonal(distance)
        torch.testing.assert_close(same_distance, same_distance[:1].expand_as(same_distance), rtol=0, atol=1e-4)
    assert scores.diagonal(0)[0] == pytest.approx((q @ k).item(), abs=1e-5)
    assert scores[0].std() > 0  # a distance does make a difference
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(length), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradients_are_those_of_finite_differences(similarity: str, rotated: bool) -> None:
    torch.manual_seed(1)
    attention = random_attention(4, 2, similarity).double()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rotation = rotations(3, 2) if rotated else None
    names, values = zip(*attention.named_parameters(), strict=True)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(attention, dict(zip(names, weights, strict=True)), (x, mask, rotation))

    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *values))


def test_a_width_not_divisible_by_the_heads_is_refused() -> None:
    with pytest.raises(ValueError, match=r"d_model \(10\) must be divisible by n_heads \(4\)"):
        SelfAttention(10, 4)
