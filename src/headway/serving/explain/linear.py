"""Contributions of the n-grams, which are exact.

Shapes: T tokens of the text, N n-grams, F known ones, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headway.model.ngrams import NgramClassifier, ngrams
from headway.model.words import word_ngrams
from headway.serving.explain.integral import centred

#: N-grams listed for and against the predicted class, at most.
STRONGEST = 12


@dataclass(frozen=True)
class Ngram:
    """An n-gram as it first occurs in the text, its number of occurrences, and its contribution to the logit."""

    surface: str
    count: int
    contribution: float


@dataclass(frozen=True)
class LinearPart:
    """Contributions of the n-grams.

    Attributes:
        weight: of the whole part.
        logits: of the classes, minus their mean, (C,).
        bias: contribution of the bias to the predicted class.
        tokens: contribution of each token to the predicted class, (T,); together with the bias they sum to its logit.
        strongest_for, strongest_against: n-grams for and against the predicted class, strongest first.
    """

    weight: float
    logits: np.ndarray
    bias: float
    tokens: np.ndarray
    strongest_for: tuple[Ngram, ...]
    strongest_against: tuple[Ngram, ...]


def linear_part(
    model: NgramClassifier, tokens: Tensor, predicted: int, weight: float, text: str, spans: np.ndarray
) -> LinearPart:
    T = tokens.shape[1]
    keys, starts, lengths = _occurrences(model, tokens)  # each (N,)
    _, places, values = model.features(tokens)  # each (F,): the text's known n-grams, ascending
    bias = weight * centred(model.bias.double())
    contributions = weight * values.double()[:, None] * centred(model.weight[places].double())  # (F, C)
    own = contributions[:, predicted]  # (F,)
    shares = torch.zeros(T, dtype=torch.float64)
    named: list[Ngram] = []
    if len(places):
        found = torch.searchsorted(model.keys[places], keys).clamp_(max=len(places) - 1)  # (N,)
        known = model.keys[places][found] == keys
        found, starts, lengths = found[known], starts[known], lengths[known]
        counts = torch.bincount(found, minlength=len(places))  # (F,)
        each = own[found] / counts[found] / lengths
        for offset in range(int(lengths.max())):
            longer = lengths > offset
            shares.index_add_(0, starts[longer] + offset, each[longer])
        first = torch.full_like(places, len(found)).scatter_reduce_(0, found, torch.arange(len(found)), "amin")  # (F,)
        order = torch.argsort(own, descending=True, stable=True).tolist()
        for place in [*order[:STRONGEST], *order[STRONGEST:][-STRONGEST:]]:
            start, length = int(starts[first[place]]), int(lengths[first[place]])
            surface = _surface(text, spans[start : start + length])
            named.append(Ngram(surface, int(counts[place]), float(own[place])))
    return LinearPart(
        weight=weight,
        logits=(contributions.sum(dim=0) + bias).numpy(),
        bias=float(bias[predicted]),
        tokens=shares.numpy(),
        strongest_for=tuple(one for one in named if one.contribution > 0)[:STRONGEST],
        strongest_against=tuple(one for one in reversed(named) if one.contribution < 0)[:STRONGEST],
    )


def _occurrences(model: NgramClassifier, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hash, first token and number of tokens of all n-grams, each (N,)."""
    _, keys = ngrams(tokens, model.max_order)
    T = tokens.shape[1]
    orders = range(1, min(model.max_order, T) + 1)
    starts = [torch.arange(T - order + 1) for order in orders]
    lengths = [torch.full((T - order + 1,), order) for order in orders]
    if model.pieces is not None:
        words = word_ngrams(tokens, model.pieces, model.max_words)
        keys = torch.cat([keys, words.keys])
        starts.append(words.starts)
        lengths.append(words.lengths)
    return keys, torch.cat(starts), torch.cat(lengths)


def _surface(text: str, spans: np.ndarray) -> str:
    """The tokens as written in the text, with one space for anything between two of them."""
    words, end = "", -1
    for first, last in spans.tolist():
        between = text[end:first] if 0 <= end < first else ""
        words += (" " if between else "") + text[max(first, end) : last]
        end = max(end, last)
    return " ".join(words.split()) or "∅"
