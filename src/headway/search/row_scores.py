"""The objective of a trial, row by row: what a paired comparison of two trials on the same validation rows needs.

A value per row, whose mean over all rows is the objective.

- accuracy: 1 for a correct row, else 0;
- negative log-likelihood: of the row's label, in nats;
- macro-F1: the score plus the row's influence on it. F1 of a class is 2 t / s, where t is the share of rows that have the class
  and are predicted to, and s the sum of the shares that have it and that are predicted to. By the delta method, the influence of
  row i is (2 t_i - F1 · s_i) / s, averaged over the classes. It is 0 for a class that the row neither has nor is predicted to.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import numpy as np
import torch


def row_scores(objective: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The objective of each row, float64, (N,).

    Args:
        objective: as in ``tune.objective``.
        logits: of the joint model, (N, C), with fitted weights; see :func:`headway.search.joint.joint_logits`.
        labels: int64, (N,).
    """
    predicted = logits.argmax(axis=1)
    if objective == "accuracy":
        return np.asarray(predicted == labels, dtype=np.float64)
    if objective == "macro_f1":
        return _macro_f1(predicted, labels, logits.shape[1])
    scores, y = torch.from_numpy(np.asarray(logits, dtype=np.float64)), torch.from_numpy(labels)
    return np.asarray(torch.nn.functional.cross_entropy(scores, y, reduction="none"))


def _macro_f1(predicted: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Macro-F1 plus the influence of each row, float64, (N,)."""
    correct = predicted == labels
    hits, total = (
        np.bincount(some, minlength=n_classes) / len(labels)
        for some in (labels[correct], np.concatenate([predicted, labels]))
    )  # (C,)
    occurs = total > 0  # a class that is neither a label nor predicted does not count, as in torchmetrics
    f1, per_share = (
        np.divide(some, total, out=np.zeros(n_classes), where=occurs) for some in (2 * hits, np.ones(n_classes))
    )
    lost = f1 * per_share  # (C,): F1 / s
    influence = 2 * correct * per_share[labels] - lost[labels] - lost[predicted]
    return np.asarray((f1.sum() + influence) / occurs.sum())
