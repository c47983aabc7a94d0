"""The weights with which the logits of a classifier's parts are added, such that its probabilities are calibrated.

For parts p with logits z_p, and validation rows i with labels y_i:

    z      = Σ_p w_p z_p                                             the combined logits
    w      = argmin_{w ≥ 0}  Σ_i -log softmax(z_i)[y_i] + λ Σ_p (w_p - 1)²

The problem is convex, so it has one solution. With a single part, 1 / w is the temperature of Guo et al. 2017, "On
Calibration of Modern Neural Networks".

Shapes: P parts, N rows, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

#: λ, which keeps weights near 1 where rows are few or the parts make no mistakes.
PRIOR = 1.0


def combine(parts: Tensor, weights: Tensor) -> Tensor:
    """The combined logits z, (N, C), of the logits of the parts, (P, N, C), with weights w, (P,)."""
    return (weights[:, None, None] * parts).sum(dim=0)


def fit_weights(parts: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Fit w, float32, (P,), to logits on rows that no part was trained on, (P, N, C), and their labels, int64, (N,).

    The minimum, divided by N, is returned too, in nats.
    """
    from scipy.optimize import minimize

    parts = parts.double()

    @torch.enable_grad()
    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.tensor(weights, requires_grad=True)  # (P,)
        z = torch.tensordot(w, parts, dims=1)  # (N, C)
        loss = nn.functional.cross_entropy(z, labels, reduction="sum") + PRIOR * (w - 1).square().sum()
        loss.backward()
        assert w.grad is not None
        return float(loss.detach()), w.grad.numpy()

    fitted = minimize(objective, np.ones(len(parts)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(parts))
    return torch.from_numpy(fitted.x).float(), float(fitted.fun) / len(labels)
