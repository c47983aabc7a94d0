"""The whole classifier: a linear part over n-grams and a self-attention part, whose logits are added.

    logits = w_0 · ngrams(tokens) + w_1 · attention(tokens)

A pretrained encoder reads its own sub-words instead of the tokens.

The parts are trained one after the other: trained together, the faster one leaves the other nothing to learn (Pezeshki et
al. 2021, "Gradient Starvation"). The weights w are fitted last, on validation rows, which also calibrates the probabilities;
see :mod:`headway.model.combination`.

Shapes: B texts, T positions, S positions of sub-words, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headway.model import combination
from headway.model.classifier import AttentionClassifier
from headway.model.ngrams import NgramClassifier
from headway.model.pretrained import PretrainedClassifier

AttentionPart = AttentionClassifier | PretrainedClassifier


class JointClassifier(nn.Module):
    """N-grams (None for attention alone) and self-attention as one classifier."""

    weights: Tensor  # w, (2,); both 1 until they are fitted

    def __init__(self, ngrams: NgramClassifier | None, attention: AttentionPart) -> None:
        super().__init__()
        self.ngrams = ngrams
        self.attention = attention
        self.register_buffer("weights", torch.ones(2))

    def forward(self, tokens: Tensor, subwords: Tensor | None = None) -> Tensor:
        """Logits, (B, C), of padded tokens, int64, (B, T), and of the same texts' sub-words, (B, S), for a pretrained encoder."""
        return self.combine(*self.parts(tokens, subwords))

    def parts(self, tokens: Tensor, subwords: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of the linear part, zeros if there is none, and of the attention part, each (B, C)."""
        attention = self.attention(tokens if subwords is None else subwords)  # (B, C)
        return self.ngrams(tokens) if self.ngrams is not None else torch.zeros_like(attention), attention

    def combine(self, linear: Tensor, attention: Tensor) -> Tensor:
        """The weighted sum of the parts' logits, (B, C)."""
        return combination.combine(torch.stack([linear, attention]), self.weights)

    def fit_weights(self, linear: Tensor, attention: Tensor, labels: Tensor) -> None:
        """Set the weights to those that make the labels, int64, (N,), most likely, given the parts' logits, each (N, C)."""
        self.weights, _ = combination.fit_weights(torch.stack([linear, attention]), labels)
