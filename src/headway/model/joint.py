"""The whole classifier: a linear part over n-grams and a self-attention part, fitted one after the other, added as logits.

Each part is trained alone, since together the faster one leaves the other nothing to learn (Pezeshki et al. 2021, "Gradient
Starvation"). How much each counts is then two numbers, found on validation rows by a convex fit, which also makes the
probabilities as sure as they are right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headway.model.classifier import AttentionClassifier
from headway.model.ngrams import NgramClassifier
from headway.model.weighing import fit_weights


class JointClassifier(nn.Module):
    """logits = mix_0 · ngrams(tokens) + mix_1 · attention(tokens).

    Args:
        ngrams: the linear part, None for attention alone.
        attention: the self-attention part.
    """

    mix: Tensor

    def __init__(self, ngrams: NgramClassifier | None, attention: AttentionClassifier) -> None:
        super().__init__()
        self.ngrams = ngrams
        self.attention = attention
        self.register_buffer("mix", torch.ones(2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, (B, C), of padded tokens, int64, (B, T)."""
        return self.combine(*self.parts(tokens))

    def parts(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the linear part (zeros without one) and of the attention part, each (B, C)."""
        attended = self.attention(tokens)
        return self.ngrams(tokens) if self.ngrams is not None else torch.zeros_like(attended), attended

    def combine(self, linear: Tensor, attended: Tensor) -> Tensor:
        """The parts' logits as one, (B, C)."""
        return self.mix[0] * linear + self.mix[1] * attended

    def fit_mix(self, linear: Tensor, attended: Tensor, labels: Tensor) -> None:
        """Find the two numbers, neither below 0, that make the labels of validation rows likeliest.

        Args:
            linear, attended: the parts' logits, (rows, C).
            labels: int64, (rows,).
        """
        self.mix = fit_weights(torch.stack([linear, attended]), labels)[0]
