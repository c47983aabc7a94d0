"""The joint model at an evaluation of a trial: n-grams that were fitted before, and the attention part as trained until then.

This computes what :mod:`headway.model.joint` computes, from the logits of its parts on the validation rows. The weights of the
parts are fitted on these rows at each evaluation, as the stage train fits them in the end.

Shapes: V validation rows, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headway.model.combination import combine, fit_weights
from headway.search.goals import OBJECTIVES
from headway.search.row_scores import row_scores


def joint_logits(ngrams: np.ndarray | None, attention: Tensor, labels: np.ndarray) -> np.ndarray:
    """Logits of the joint model, float32, (V, C), with the weights that make the labels most likely.

    Args:
        ngrams: logits of the n-grams, float32, (V, C). None if there are none: the result is then that of the attention part at
            its best temperature.
        attention: logits of the attention part, float32, (V, C), of the same rows in the same order.
        labels: int64, (V,).
    """
    parts = torch.stack([attention] if ngrams is None else [torch.tensor(ngrams), attention])
    weights, _ = fit_weights(parts, torch.from_numpy(labels))
    return combine(parts, weights).numpy()


def joint_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Every objective of each row, float64, (V,), of the joint model's logits, (V, C), and labels, int64, (V,)."""
    return {name: row_scores(name, logits, labels) for name in OBJECTIVES}
