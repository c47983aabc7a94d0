"""What each part of the classifier learned, in numbers: compared with the class shares, and with the other part alone.

Shapes: N validation rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headway.model.combination import fit_weights

DIGITS = 6


def part_metrics(
    parts: Mapping[str, Tensor], joint: Tensor, labels: Tensor, class_rows: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Measure every part of a classifier on validation rows, each part at the weight that fits it best when it is alone.

    Args:
        parts: logits of each part, by name, (N, C).
        joint: logits of all parts together, (N, C).
        labels: int64, (N,).
        class_rows: number of training rows of each class.

    Returns:
        Under ``class_shares``: accuracy and negative log-likelihood (nats per row) of a model that always predicts the classes'
        shares of the training rows. For each part:

        - ``validation_accuracy`` and ``validation_nll``, of the part alone;
        - ``only_part_correct`` and ``only_majority_correct``: rows that the part alone gets right, and rows that the most
          frequent class alone gets right;
        - ``nll_gain`` and ``nll_gain_error``: by how much its negative log-likelihood is below that of the class shares, and
          the standard error of that difference;
        - with two parts, ``likelihood_gain``: by how many nats, over all rows, the joint model's log-likelihood is above that
          of the other part alone, both at weights fitted with the prior of :mod:`headway.model.combination`; and
          ``predictions_changed``: rows whose prediction differs between these two.
    """
    shares = torch.tensor(class_rows, dtype=torch.double).clamp(min=1)
    constant = (shares / shares.sum()).log().expand(len(labels), -1)  # (N, C)
    by_shares, majority = _nll(constant, labels), _correct(constant, labels)
    scaled = {name: fit_weights(logits[None], labels)[0] * logits for name, logits in parts.items()}
    report: dict[str, dict[str, Any]] = {
        "class_shares": {"validation_accuracy": _mean(majority), "validation_nll": _mean(by_shares)}
    }
    for name, logits in scaled.items():
        correct, loss = _correct(parts[name], labels), _nll(logits, labels)
        gain = by_shares - loss
        report[name] = {
            "validation_accuracy": _mean(correct),
            "validation_nll": _mean(loss),
            "only_part_correct": int((correct & ~majority).sum()),
            "only_majority_correct": int((majority & ~correct).sum()),
            "nll_gain": _mean(gain),
            "nll_gain_error": round(float(gain.std(correction=0)) / len(labels) ** 0.5, DIGITS),
        }
        if others := [other for other in scaled if other != name]:
            (other,) = others
            report[name] |= {
                "likelihood_gain": round(float((_nll(scaled[other], labels) - _nll(joint, labels)).sum()), 3),
                "predictions_changed": int((joint.argmax(dim=1) != parts[other].argmax(dim=1)).sum()),
            }
    return report


def _nll(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.double(), labels, reduction="none")  # (N,)


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(dim=1) == labels  # (N,)


def _mean(values: Tensor) -> float:
    return round(float(values.double().mean()), DIGITS)
