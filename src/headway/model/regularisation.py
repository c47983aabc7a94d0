"""Fits of logistic regression with several regularisation strengths, of which validation texts choose one.

The strengths are tried in ascending order of C, each fit starting from the previous one, until the loss on validation texts
rises. That loss is taken at the best temperature, because the weights of the model's parts are fitted later; see
:mod:`headway.model.combination`. A class without training texts keeps a low bias.

Shapes: N texts, V validation texts, F features, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from headway.model import logistic
from headway.model.combination import fit_weights

#: Relative gain of the validation loss that is expected of the solver's last ``CHECKS`` times ``logistic.STOP_EVERY`` iterations.
CHECKS, GAIN = 2, 1e-3


class Fit(NamedTuple):
    """A fit with one strength: C, the validation loss in nats per text, weights, (F, C), and bias, (C,)."""

    strength: float
    loss: float
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class HeldOut:
    """Validation texts, on which fits are compared."""

    rows: logistic.Rows | Tensor  # features without scale, (V, F)
    labels: Tensor  # (V,)
    classes: np.ndarray  # those that have training texts
    bias: Tensor  # of the other classes, (C,)

    def expand(self, problem: logistic.Problem, point: logistic.Point, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of features without scale, (F, C), and bias, (C,), of all classes."""
        some = logistic.logits_of(problem.weights_of(point) * scale[:, None])
        weight, bias = torch.zeros(len(some), len(self.bias)), self.bias.clone()
        weight[:, self.classes], bias[self.classes] = some, logistic.logits_of(point.bias[None])[0]
        return weight, bias

    def loss(self, weight: Tensor, bias: Tensor) -> float:
        """The loss at the best temperature."""
        return fit_weights((self.rows @ weight + bias)[None], self.labels)[1]


def fits(problem: logistic.Problem, scale: Tensor, strengths: Sequence[float], held_out: HeldOut) -> Iterator[Fit]:
    """Fits with ascending strengths, until the validation loss rises.

    A fit ends early when its validation loss no longer falls: its own objective goes on falling for long.
    """
    point, before = None, math.inf
    for strength in strengths:
        losses: list[float] = []

        def stagnates(now: logistic.Point, losses: list[float] = losses) -> bool:
            losses.append(held_out.loss(*held_out.expand(problem, now, scale)))
            return len(losses) > CHECKS and min(losses[-CHECKS:]) > (1 - GAIN) * min(losses[:-CHECKS])

        point = logistic.fit(problem, strength, point, stop=stagnates)
        weight, bias = held_out.expand(problem, point, scale)
        loss = held_out.loss(weight, bias)
        yield Fit(strength, loss, weight, bias)
        if loss >= before:
            return
        before = loss


def bias_of(class_rows: np.ndarray) -> Tensor:
    """Logarithms of the classes' shares of the training rows, float32, (C,), as if each class had one more row."""
    return torch.from_numpy(np.log(class_rows + 1) - np.log(class_rows.sum() + len(class_rows))).float()


def balancing(labels: np.ndarray) -> np.ndarray:
    """Weights of rows, (N,), with which all classes weigh the same; each class has a row."""
    return np.asarray((len(labels) / (labels.max() + 1) / np.bincount(labels))[labels])
