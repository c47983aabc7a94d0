"""Integrated gradients of a class's logit over embedded texts, for any kind of attention part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

#: The integral is accepted if its residual is below this times the sum of absolute contributions.
TOLERANCE = 0.01
#: Largest number of attention weights that are returned (200 MB).
MAX_WEIGHTS = 50_000_000


def centred(logits: Tensor) -> Tensor:
    """Logits, (…, C), minus their mean over the classes."""
    return logits - logits.mean(dim=-1, keepdim=True)


def integrated_gradients(
    classify: Callable[[Tensor, Tensor], Tensor],
    embedded: Tensor,
    target: int,
    contributions: Callable[[Tensor], Tensor],
    attempts: Sequence[tuple[int, Sequence[float]]],
    per_batch: int,
) -> Tensor:
    """Contribution of each position to a class's logit, relative to the classes' mean, compared with a blank text.

    Args:
        classify: logits, (B, C), of embedded texts, (B, S, d), and their mask, (B, S).
        embedded: the text, (1, S, d); the blank text is zero.
        target: index of the class.
        contributions: those of the positions, (S,), for the mean gradient along the line from the blank text, float64, (S, d).
        attempts: numbers of integration steps for each segment of the line, and the ends of the segments, ascending from 0 (the
            blank text) to 1; tried in turn until the residual is small.
        per_batch: positions in a batch, in which each step is one text.

    Returns:
        float64, (S,).
    """
    from captum.attr import IntegratedGradients

    def logit(x: Tensor) -> Tensor:
        return centred(classify(x, torch.ones(x.shape[:2], dtype=torch.bool)))[:, target]

    with torch.no_grad():
        difference = logit(embedded) - logit(torch.zeros_like(embedded))
    # Not multiplied by the inputs, so that several embeddings of a position can share one integral.
    method = IntegratedGradients(logit, multiply_by_inputs=False)
    batch = max(1, per_batch // embedded.shape[1])
    shares: Tensor
    for n_steps, ends in attempts:
        gradient = torch.zeros_like(embedded[0], dtype=torch.float64)  # (S, d)
        for begin, end in pairwise(ends):
            segment = method.attribute(end * embedded, begin * embedded, n_steps=n_steps, internal_batch_size=batch)
            gradient += (end - begin) * segment[0].detach().double()
        shares = contributions(gradient)
        if float((difference - shares.sum()).abs()) <= TOLERANCE * float(shares.abs().sum()):
            break
    return shares
