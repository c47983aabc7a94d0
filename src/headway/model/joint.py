"""The whole classifier: a linear part over n-grams and a self-attention part, fitted one after the other, added as logits.

Each part is trained alone, since together the faster one leaves the other nothing to learn (Pezeshki et al. 2021, "Gradient
Starvation"). How much each counts is then two numbers, found on validation rows by a convex fit, which also makes the
probabilities as sure as they are right: with one part alone it is the temperature of Guo et al. 2017, "On Calibration of
Modern Neural Networks".
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from headway.model.classifier import AttentionClassifier
from headway.model.ngrams import NgramClassifier

#: Weight of the belief that both parts count as they are; it decides only where validation rows are few.
PRIOR = 1.0


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
        from scipy.optimize import minimize

        parts = torch.stack([linear, attended]).double()  # (2, rows, C)

        def loss(mix: np.ndarray) -> tuple[float, np.ndarray]:
            weights = torch.tensor(mix, requires_grad=True)
            likelihood = nn.functional.cross_entropy(torch.tensordot(weights, parts, dims=1), labels, reduction="sum")
            total = likelihood + PRIOR * (weights - 1).square().sum()
            total.backward()
            assert weights.grad is not None
            return float(total.detach()), weights.grad.numpy()

        found = minimize(loss, np.ones(2), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2).x
        self.mix = torch.from_numpy(found).float()
