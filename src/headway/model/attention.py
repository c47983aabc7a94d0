"""Multi-head self-attention, written as its equations.

For a sequence X = (x_1 … x_n), every position i asks all positions j how similar they are, and receives a mixture:

    q_i, k_i, v_i  = W_q x_i, W_k x_i, W_v x_i       queries, keys and values: three learned projections
    sim(q, k)      = q · k / √d_head                 an inner product, scaled
                or = exp(s) · q · k / (|q| |k|)      a cosine, with a learned scale exp(s)
    a_ij           = exp sim(q_i, k_j) / Σ_l exp sim(q_i, k_l)    how much i attends to j; each row sums to 1
    z_i            = Σ_j a_ij v_j                    the mixture that i receives
    y_i            = W z_i + b                       back to the width of the model

A head is one such map over d_head features. h heads run side by side, each free to look for something else, and their z
are concatenated before the last line (Vaswani et al. 2017, "Attention Is All You Need"; for the cosine, Henry et al. 2020,
"Query-Key Normalization for Transformers").

Shapes are given at the end of each line: B texts, T positions, h heads, d_head features a head, d_model = h · d_head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Multi-head self-attention over a padded batch.

    Args:
        d_model: width of input and output; divisible by ``n_heads``.
        n_heads: heads side by side.
        similarity: ``"inner_product"`` or ``"cosine"``.
    """

    def __init__(self, d_model: int, n_heads: int, similarity: str = "inner_product") -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model ({d_model}) must be divisible by n_heads ({n_heads})")
        if similarity not in ("inner_product", "cosine"):
            raise ValueError(f"similarity {similarity!r} is not known; expected 'inner_product' or 'cosine'")
        self.n_heads = n_heads
        self.d_head = d_model // n_heads
        self.similarity = similarity
        self.scale = self.d_head**-0.5 if similarity == "inner_product" else 1.0
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        if similarity == "cosine":
            # sim = exp(log_scale) · cos; starts at √d_head, about as sharp a softmax as the inner product's.
            self.log_scale = nn.Parameter(torch.full((n_heads, 1, 1), 0.5 * math.log(self.d_head)))

    def forward(self, x: Tensor, attention_mask: Tensor, rotation: Tensor | None = None) -> Tensor:
        """The fast path: PyTorch's fused kernel computes a and z without ever storing the weights.

        Args:
            x: (B, T, d_model).
            attention_mask: bool, (B, T); True at real tokens, False at padding. Every row needs at least one True.
            rotation: from :func:`rotations`, complex, (T, d_head / 2); None for no positions.

        Returns:
            (B, T, d_model). Rows at padding hold finite numbers without meaning.
        """
        q, k, v = self._project(x, rotation)  # each (B, h, T, d_head)
        mask = attention_mask[:, None, None, :]  # (B, 1, 1, T): no query looks at padding
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)  # (B, h, T, d_head)
        return self._join(z)

    def forward_with_weights(
        self, x: Tensor, attention_mask: Tensor, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The plain path: every equation on a line of its own.

        Args:
            x, attention_mask, rotation: as in :meth:`forward`.

        Returns:
            what :meth:`forward` returns, and the weights a, (B, h, T, T), in which padding receives exactly 0.
        """
        q, k, v = self._project(x, rotation)  # each (B, h, T, d_head)
        similarity = self.scale * q @ k.transpose(-2, -1)  # (B, h, T, T)
        similarity = similarity.masked_fill(~attention_mask[:, None, None, :], -torch.inf)
        weights = similarity.softmax(dim=-1)  # (B, h, T, T): a_ij, rows sum to 1
        z = weights @ v  # (B, h, T, d_head)
        return self._join(z), weights

    def _project(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, such that sim(q, k) = scale · q·k: a cosine's learned scale is put into q."""
        B, T, _ = x.shape
        qkv = self.query_key_value(x).view(B, T, 3, self.n_heads, self.d_head)
        qk, v = qkv[:, :, :2], qkv[:, :, 2]
        if rotation is not None:
            qk = rotate(qk, rotation)
        q, k, v = (features.transpose(1, 2) for features in (*qk.unbind(2), v))  # each (B, h, T, d_head)
        if self.similarity == "cosine":
            return F.normalize(q, dim=-1) * self.log_scale.exp(), F.normalize(k, dim=-1), v
        return q, k, v

    def _join(self, z: Tensor) -> Tensor:
        """Heads side by side again, and the output projection: Y = W Z + b."""
        y: Tensor = self.output(z.transpose(1, 2).flatten(2))  # (B, T, d_model)
        return y


def rotations(length: int, d_head: int, device: torch.device | None = None) -> Tensor:
    """Unit complex numbers that turn feature pair p at position t by the angle t / 10000^(2p / d_head).

    The inner product of a query at i and a key at j, both turned, then depends on i - j only
    (Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding").

    Returns:
        complex64, (length, d_head / 2).

    Raises:
        ValueError: d_head is odd.
    """
    if d_head % 2:
        raise ValueError(f"d_head ({d_head}) must be even: features are turned in pairs")
    speed = 10_000.0 ** (-torch.arange(0, d_head, 2, device=device) / d_head)  # (d_head / 2,)
    angle = torch.outer(torch.arange(length, device=device, dtype=torch.float32), speed)  # (T, d_head / 2)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the feature pairs (2p, 2p + 1) of x, (B, T, …, d_head), as its positions ask.

    A pair is one complex number, so that turning it is one product.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # there are no complex numbers of bfloat16
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))  # (B, T, …, d_head / 2)
    turned = pairs * rotation.view(len(rotation), *[1] * (x.ndim - 3), -1)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)
