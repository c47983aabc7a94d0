"""Explanation of a prediction: the contribution of each part, n-gram and token to the logit.

A softmax does not change if the same number is added to all logits, so a logit is taken relative to the classes' mean:

    logit_c  =  w_0 · (n-grams + bias)  +  w_1 · (attention)        each minus its mean over the classes

The linear part is a sum: an n-gram contributes value × weight, divided equally among its occurrences, and within an occurrence
among its tokens. The attention part is decomposed by integrated gradients (Sundararajan, Taly & Yan 2017, "Axiomatic Attribution
for Deep Networks"): the gradient is integrated along the line from a blank text, whose embeddings are all zero, to the text. The
contributions of all positions sum to the difference of the two logits. The blank text is unlike any training text, so the
model's logit for it serves as an origin only.

Shapes: T tokens of the text, S of them read by the attention part, C classes, h heads, d = d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from headway.data.tokenization.tokenizer import UNKNOWN_ID, truncate
from headway.model.classifier import AttentionClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.serving.package import ModelPackage, require_text

#: N-grams listed for and against the predicted class, at most.
STRONGEST = 12
#: Numbers of integration steps, tried in turn until the residual is below TOLERANCE times the sum of absolute contributions.
STEPS, TOLERANCE = (64, 256, 1024), 0.01
TOKENS_PER_BATCH = 16_384
#: Largest number of attention weights that are returned (200 MB).
MAX_WEIGHTS = 50_000_000


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


@dataclass(frozen=True)
class AttentionPart:
    """Contributions of the tokens through self-attention.

    Attributes:
        weight: of the whole part.
        logits: of the classes, minus their mean, (C,).
        seen: indices of the tokens that this part reads, ascending, (S,).
        blank: logit of the predicted class for a blank text of this length.
        tokens: integrated gradients, (S,); together with ``blank`` and ``left_over`` they sum to the predicted class's logit.
        left_over: residual from the finite number of integration steps.
        pooling: weight of each position in each head's pooling, (S, h); columns sum to 1.
        window_size: position t is in window t // window_size.
        maps: attention weights of each layer, (windows, h, window_size, window_size), one row per query; the last window may
            end in padding. None if there are more than MAX_WEIGHTS.
    """

    weight: float
    logits: np.ndarray
    seen: np.ndarray
    blank: float
    tokens: np.ndarray
    left_over: float
    pooling: np.ndarray
    window_size: int
    maps: tuple[np.ndarray, ...] | None


@dataclass(frozen=True)
class Explanation:
    """A prediction for one text and the contributions to it.

    Attributes:
        text: as given.
        classes: label names.
        predicted: index of the most likely class.
        probabilities: (C,).
        spans: start and end of each token in the text, in characters, (T, 2); spans overlap if a character gives several tokens.
        kept: positions of the tokens in the whole text, (T,), with a gap where a long text was truncated.
        linear: None for a model with attention alone.
        attention: of the self-attention part.
    """

    text: str
    classes: tuple[str, ...]
    predicted: int
    probabilities: np.ndarray
    spans: np.ndarray
    kept: np.ndarray
    linear: LinearPart | None
    attention: AttentionPart


def explain(package: ModelPackage, text: str) -> Explanation:
    """Explain a package's prediction for one text; HeadwayError if it is missing, empty, not a string or not valid Unicode."""
    text = require_text(text, "text")
    encoding = package.encoder.tokenizer.encode(text, add_special_tokens=False)
    kept = truncate(np.arange(max(1, len(encoding.ids))), package.encoder.max_length)
    ids = np.array(encoding.ids or [UNKNOWN_ID], dtype=np.int64)[kept]
    spans = np.array(encoding.offsets or [(0, 0)], dtype=np.int64)[kept]
    tokens = torch.from_numpy(ids)[None]  # (1, T)
    model = package.classifier
    with torch.no_grad():
        linear, attended = model.parts(tokens)  # each (1, C)
        probabilities = model.combine(linear, attended)[0].softmax(dim=0)
    predicted = int(probabilities.argmax())
    weights = model.weights.tolist()
    return Explanation(
        text=text,
        classes=tuple(package.classes),
        predicted=predicted,
        probabilities=probabilities.numpy(),
        spans=spans,
        kept=kept,
        linear=_linear_part(model.ngrams, tokens, predicted, weights[0], text, spans) if model.ngrams is not None else None,
        attention=_attention_part(model.attention, tokens, predicted, weights[1]),
    )


def centred(logits: Tensor) -> Tensor:
    """Logits, (…, C), minus their mean over the classes."""
    return logits - logits.mean(dim=-1, keepdim=True)


# The linear part


def _linear_part(
    model: NgramClassifier, tokens: Tensor, predicted: int, weight: float, text: str, spans: np.ndarray
) -> LinearPart:
    T = tokens.shape[1]
    orders = range(1, min(model.max_order, T) + 1)
    starts = torch.cat([torch.arange(T - order + 1) for order in orders])  # (N,): in the order of ngrams()
    lengths = torch.cat([torch.full((T - order + 1,), order) for order in orders])  # (N,)
    _, keys = ngrams(tokens, model.max_order)  # (N,)
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
        for offset in range(model.max_order):
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


def _surface(text: str, spans: np.ndarray) -> str:
    """The tokens as written in the text, with one space for anything between two of them."""
    words, end = "", -1
    for first, last in spans.tolist():
        between = text[end:first] if 0 <= end < first else ""
        words += (" " if between else "") + text[max(first, end) : last]
        end = max(end, last)
    return " ".join(words.split()) or "∅"


# The attention part


def _attention_part(model: AttentionClassifier, tokens: Tensor, predicted: int, weight: float) -> AttentionPart:
    seen = truncate(np.arange(tokens.shape[1]), model.params.max_length)
    tokens = tokens[:, seen]  # (1, S)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        words, embedded = model.embedding(tokens), model.embed(tokens)  # each (1, S, d)
        maps, encoded = _maps(model, embedded, mask)
        pooling = model.pooling.weights(encoded, mask)[0]  # (S, h)
        logits = weight * centred(model.classify(embedded, mask)[0])
        blank = weight * centred(model.classify(torch.zeros_like(embedded), mask)[0])
    shares = integrated_gradients(model, words[0], (embedded - words)[0], predicted) * weight
    return AttentionPart(
        weight=weight,
        logits=logits.double().numpy(),
        seen=seen,
        blank=float(blank[predicted]),
        tokens=shares.numpy(),
        left_over=float(logits[predicted] - blank[predicted] - shares.sum()),
        pooling=pooling.numpy(),
        window_size=model.encoder.window(len(seen)),
        maps=maps,
    )


def integrated_gradients(model: AttentionClassifier, words: Tensor, pairs: Tensor, target: int) -> Tensor:
    """Contribution of each position to a class's logit, relative to the classes' mean, compared with a blank text.

    The contribution of a bigram's embedding is divided equally between its two tokens; the first token gets all of its own,
    since its bigram starts before the text.

    ``words`` and ``pairs`` are the embeddings of the tokens, and of the bigrams ending there, (S, d). Returns float64, (S,).
    """
    from captum.attr import IntegratedGradients

    def logit(x: Tensor) -> Tensor:
        return centred(model.classify(x, torch.ones(x.shape[:2], dtype=torch.bool)))[:, target]

    embedded = (words + pairs)[None]  # (1, S, d)
    with torch.no_grad():
        difference = logit(embedded) - logit(torch.zeros_like(embedded))
    # Average gradients, not yet multiplied by the inputs, so that tokens and bigrams share one integral.
    method = IntegratedGradients(logit, multiply_by_inputs=False)
    batch = max(1, TOKENS_PER_BATCH // len(words))
    shares: Tensor
    for steps in STEPS:
        gradient = method.attribute(embedded, n_steps=steps, internal_batch_size=batch)[0].detach().double()  # (S, d)
        by_word, by_pair = (gradient * words).sum(dim=1), (gradient * pairs).sum(dim=1)  # each (S,)
        shares = by_word + (by_pair + F.pad(by_pair[1:], (0, 1))) / 2
        shares[0] += by_pair[0] / 2
        if float((difference - shares.sum()).abs()) <= TOLERANCE * float(shares.abs().sum()):
            break
    return shares


def _maps(model: AttentionClassifier, embedded: Tensor, mask: Tensor) -> tuple[tuple[np.ndarray, ...] | None, Tensor]:
    """The attention weights of each layer, or None above MAX_WEIGHTS, and the encoded text, (1, S, d)."""
    S = embedded.shape[1]
    heads = model.params.n_layers * model.params.n_heads
    if heads * S * model.encoder.window(S) > MAX_WEIGHTS:
        return None, model.encoder(embedded, mask)
    encoded, weights = model.encoder.forward_with_weights(embedded, mask)
    return tuple(layer[0].numpy() for layer in weights), encoded
