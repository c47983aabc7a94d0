"""The encoder: self-attention blocks over the tokens of a text, within windows of neighbouring tokens when asked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model.attention import SelfAttention, rotations
from headway.params import ModelParams


class SequenceDropout(nn.Module):
    """Dropout with one mask for all positions of a text: features are dropped, not single numbers.

    Far cheaper on a CPU than a mask of single numbers: this one has (B, 1, d) entries, not (B, T, d) (Gal & Ghahramani 2016,
    "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks").
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of x, (B, T, d)."""
        if not self.training or not self.p:
            return x
        keep = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.p  # (B, 1, d)
        return x * (keep.to(x.dtype) / (1 - self.p))


class Block(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + feedforward(norm(x)).

    Normalising before each part instead of after it keeps gradients even from the first step (Xiong et al. 2020, "On Layer
    Normalization in the Transformer Architecture"). The feed-forward part is as of Vaswani et al. 2017, with the GELU of
    Hendrycks & Gimpel 2016.
    """

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(params.d_model)
        self.attention = SelfAttention(params.d_model, params.n_heads, params.similarity)
        self.feedforward_norm = nn.LayerNorm(params.d_model)
        self.expand = nn.Linear(params.d_model, params.dim_feedforward)
        self.contract = nn.Linear(params.dim_feedforward, params.d_model)
        self.dropout = SequenceDropout(params.dropout)

    def forward(self, x: Tensor, attention_mask: Tensor, rotation: Tensor) -> Tensor:
        """(B, T, d_model) to (B, T, d_model)."""
        return self._feed(x + self.dropout(self.attention(self.attention_norm(x), attention_mask, rotation)))

    def forward_with_weights(self, x: Tensor, attention_mask: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`forward` returns, and the attention weights, (B, h, T, T)."""
        attended, weights = self.attention.forward_with_weights(self.attention_norm(x), attention_mask, rotation)
        return self._feed(x + self.dropout(attended)), weights

    def _feed(self, x: Tensor) -> Tensor:
        change: Tensor = self.dropout(self.contract(F.gelu(self.expand(self.feedforward_norm(x)))))
        return x + change


class Encoder(nn.Module):
    """A stack of blocks.

    With ``window_size`` s > 0 a text is cut into windows of s tokens, which attend within themselves: the cost then grows
    linearly with the length, and the classifier's pooling joins the windows (blocks as in Qiu et al. 2020, "Blockwise
    Self-Attention for Long Document Understanding").
    """

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.window_size = params.window_size
        self.d_head = params.d_model // params.n_heads
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.n_layers))
        self.norm = nn.LayerNorm(params.d_model)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode x, (B, T, d_model), with mask (B, T); returns (B, T, d_model)."""
        windows, visible, rotation = self._cut(x, attention_mask)
        for block in self.blocks:
            windows = block(windows, visible, rotation)
        return self._join(windows, x.shape)

    def forward_with_weights(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The plain path, for explanation.

        Returns:
            what :meth:`forward` returns, and of each block the weights within each window, (B, windows, h, size, size), where
            position t of a text stands in window t // size. Rows at padding mean nothing.
        """
        windows, visible, rotation = self._cut(x, attention_mask)
        found = []
        for block in self.blocks:
            assert isinstance(block, Block)
            windows, weights = block.forward_with_weights(windows, visible, rotation)
            found.append(weights.unflatten(0, (len(x), -1)))
        return self._join(windows, x.shape), found

    def window(self, length: int) -> int:
        """Tokens of a window in a text of so many."""
        return min(self.window_size or length, length)

    def _cut(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows, (B · windows, size, d_model), what may be looked at in them, (B · windows, size), and the rotation."""
        _, T, d = x.shape
        size = self.window(T)
        padding = -T % size
        windows = F.pad(x, (0, 0, 0, padding)).view(-1, size, d)  # (B · windows, size, d)
        real = F.pad(attention_mask, (0, padding)).view(-1, size)  # (B · windows, size)
        # A window of padding alone would leave its softmax without a single score: let it look at itself, nobody reads it.
        return windows, real | ~real.any(dim=1, keepdim=True), rotations(size, self.d_head, x.device)

    def _join(self, windows: Tensor, shape: torch.Size) -> Tensor:
        """Windows as texts of this shape again, (B, T, d_model)."""
        B, T, d = shape
        normed: Tensor = self.norm(windows)
        return normed.view(B, -1, d)[:, :T]
