"""The encoder: a stack of pre-norm self-attention blocks, over whole texts or over windows of neighbouring tokens.

For embedded texts X, one block computes

    X ← X + dropout(attention(norm(X)))
    X ← X + dropout(W_2 gelu(W_1 norm(X) + b_1) + b_2)

and the encoder returns norm(X) after the last block. Normalising the input of each part, not its output, keeps gradients even
from the first step (Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture"); the feed-forward part is that
of Vaswani et al. 2017 with the GELU of Hendrycks & Gimpel 2016.

Shapes: B texts, T positions, h heads, d = d_model, d_ff = dim_feedforward.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model.attention import SelfAttention, rotations
from headway.params import ModelParams


class SequenceDropout(nn.Dropout):
    """Dropout of features, with the same mask at all positions of a text.

    The mask has (B, 1, d) entries, which is far cheaper on a CPU than (B, T, d) (Gal & Ghahramani 2016, "A Theoretically
    Grounded Application of Dropout in Recurrent Neural Networks").
    """

    def forward(self, x: Tensor) -> Tensor:
        """Zero each feature of x, (B, T, d), with probability p and scale the others by 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        keep = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= self.p  # (B, 1, d)
        return x * (keep.to(x.dtype) / (1 - self.p))


class Block(nn.Module):
    """One block: self-attention, then a feed-forward layer, each on normalised input and added to it."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(params.d_model)
        self.attention = SelfAttention(params.d_model, params.n_heads, params.similarity)
        self.feedforward_norm = nn.LayerNorm(params.d_model)
        self.expand = nn.Linear(params.d_model, params.dim_feedforward)
        self.contract = nn.Linear(params.dim_feedforward, params.d_model)
        self.dropout = SequenceDropout(params.dropout)

    def forward(self, x: Tensor, attention_mask: Tensor, rotation: Tensor) -> Tensor:
        """Map x, (B, T, d), to (B, T, d); for the other arguments see :meth:`SelfAttention.forward`."""
        return self._feedforward(x + self.dropout(self.attention(self.attention_norm(x), attention_mask, rotation)))

    def forward_with_weights(self, x: Tensor, attention_mask: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """The result of :meth:`forward`, and the attention weights, (B, h, T, T)."""
        attended, weights = self.attention.forward_with_weights(self.attention_norm(x), attention_mask, rotation)
        return self._feedforward(x + self.dropout(attended)), weights

    def _feedforward(self, x: Tensor) -> Tensor:
        change: Tensor = self.dropout(self.contract(F.gelu(self.expand(self.feedforward_norm(x)))))
        return x + change


class Encoder(nn.Module):
    """A stack of blocks, and a final normalisation.

    With ``window_size`` s > 0, texts are cut into windows of s tokens, and tokens attend within their window only. The cost
    then grows linearly with the length (Qiu et al. 2020, "Blockwise Self-Attention for Long Document Understanding"); the
    classifier's pooling combines the windows.
    """

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.window_size = params.window_size
        self.d_head = params.d_model // params.n_heads
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.n_layers))
        self.norm = nn.LayerNorm(params.d_model)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode texts x, (B, T, d), to (B, T, d); the mask, (B, T), is True at tokens. Rows at padding have no meaning."""
        windows, visible, rotation = self._cut(x, attention_mask)
        for block in self.blocks:
            windows = block(windows, visible, rotation)
        return self._join(windows, x.shape)

    def forward_with_weights(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The result of :meth:`forward`, and for each block the attention weights in windows, (B, windows, h, size, size).

        Position t of a text is in window t // size. Rows at padding have no meaning.
        """
        windows, visible, rotation = self._cut(x, attention_mask)
        maps = []
        for block in self.blocks:
            assert isinstance(block, Block)
            windows, weights = block.forward_with_weights(windows, visible, rotation)
            maps.append(weights.unflatten(0, (len(x), -1)))  # (B, windows, h, size, size)
        return self._join(windows, x.shape), maps

    def window(self, length: int) -> int:
        """Number of tokens in a window, for texts of this length."""
        return min(self.window_size or length, length)

    def _cut(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows of texts, their attention mask, and the rotation of positions in a window."""
        _, T, d = x.shape
        size = self.window(T)
        padding = -T % size
        windows = F.pad(x, (0, 0, 0, padding)).view(-1, size, d)  # (B · windows, size, d)
        real = F.pad(attention_mask, (0, padding)).view(-1, size)  # (B · windows, size)
        # A softmax over no score is NaN, so a window of padding alone attends to itself; the pooling ignores the result.
        return windows, real | ~real.any(dim=1, keepdim=True), rotations(size, self.d_head, x.device)

    def _join(self, windows: Tensor, shape: torch.Size) -> Tensor:
        """Join windows to texts of the given shape, (B, T, d), and normalise them."""
        B, T, d = shape
        normed: Tensor = self.norm(windows)
        return normed.view(B, -1, d)[:, :T]
