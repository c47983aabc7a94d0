"""How much logits should count for their probabilities to be as sure as they are right."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

#: Weight of the belief that logits count as they are; it decides only where rows are few, or never wrong.
PRIOR = 1.0


def fit_weights(parts: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Find the weights w, none below 0, for which Σ_p w_p · parts_p makes the labels likeliest.

    With a single part 1 / w is the temperature of Guo et al. 2017, "On Calibration of Modern Neural Networks". The problem is
    convex.

    Args:
        parts: logits, (P, rows, C); of rows that nothing was trained on.
        labels: int64, (rows,).

    Returns:
        w, float32, (P,); and the mean negative log-likelihood with them in nats, prior included.
    """
    from scipy.optimize import minimize

    parts = parts.double()

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.tensor(weights, requires_grad=True)
        likelihood = nn.functional.cross_entropy(torch.tensordot(w, parts, dims=1), labels, reduction="sum")
        total = likelihood + PRIOR * (w - 1).square().sum()
        total.backward()
        assert w.grad is not None
        return float(total.detach()), w.grad.numpy()

    found = minimize(loss, np.ones(len(parts)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(parts))
    return torch.from_numpy(found.x).float(), float(found.fun) / len(labels)
