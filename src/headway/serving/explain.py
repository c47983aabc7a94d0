"""Why a model labels a text as it does: what each part, each n-gram and each token adds to the logit. The page is elsewhere.

A softmax takes no notice of what all logits share, so a logit counts here as far as it stands above the classes' mean:

    logit_c  =  mix_0 · (n-grams + bias)  +  mix_1 · (attention)        each less its mean over the classes

The linear part is a sum already: an n-gram adds value × weight, shared equally by its occurrences and each by its tokens.
The attention part is no sum. Integrated gradients make it one (Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep
Networks"): the gradient is gathered on the way from a blank text, whose embeddings are all zero, to the text itself. What all
positions get adds up to the difference between the two. No text of the training looks like the blank one, so that what the model
says of it is a point to start from and means nothing more.

Shapes: T tokens of the text, S of them that the attention part sees, C classes, h heads, d = d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from headway.data.tokenization.tokenizer import UNKNOWN_ID, truncate
from headway.errors import HeadwayError
from headway.model.classifier import AttentionClassifier
from headway.model.ngrams import NgramClassifier, ngrams
from headway.serving.package import ModelPackage

#: N-grams that are named, on either side.
STRONGEST = 12
#: Steps of the integral, tried in turn until what is left over is within TOLERANCE of all that was attributed.
STEPS, TOLERANCE = (64, 256, 1024), 0.01
TOKENS_PER_BATCH = 16_384
#: Attention weights that are worth keeping, 200 MB; of a text with more no maps are made.
MAX_WEIGHTS = 50_000_000


@dataclass(frozen=True)
class Ngram:
    """A run of tokens as it first stands in the text, how often it stands there, and what it adds to the logit."""

    surface: str
    count: int
    contribution: float


@dataclass(frozen=True)
class LinearPart:
    """What the n-grams say.

    Attributes:
        mix: the weight of the whole part.
        logits: less their mean, (C,).
        bias: what the predicted class gets from a text without a known n-gram.
        tokens: what each token adds to the predicted class, (T,); with the bias the sum is its logit, exactly.
        strongest_for, strongest_against: the predicted class, the strongest first.
    """

    mix: float
    logits: np.ndarray
    bias: float
    tokens: np.ndarray
    strongest_for: tuple[Ngram, ...]
    strongest_against: tuple[Ngram, ...]


@dataclass(frozen=True)
class AttentionPart:
    """What self-attention says.

    Attributes:
        mix: the weight of the whole part.
        logits: less their mean, (C,).
        seen: which of the text's tokens it sees, ascending, (S,).
        blank: what the predicted class gets from a blank text of this length.
        tokens: integrated gradients, (S,); with ``blank`` and ``left_over`` the sum is the predicted class's logit.
        left_over: what the integral's finite number of steps misses.
        pooling: weight of each position in the pooling of each head, (S, h); each column sums to 1.
        window_size: position t stands in window t // window_size.
        maps: of each layer the weights within each window, (windows, h, window_size, window_size), a row a token that looks;
            the last window may be filled up with padding. None where there would be too many.
    """

    mix: float
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
    """A text, what the model says of it, and what its parts add.

    Attributes:
        classes: label names.
        predicted: index of the likeliest class.
        probabilities: (C,).
        spans: first character of each token in the text, and the one after its last, (T, 2). They may overlap: one character
            can become several tokens.
        kept: numbers of the tokens that were kept, (T,); there is a gap where a long text was cut.
        linear: None for attention alone.
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
    """Explain a package's prediction for one text.

    Raises:
        HeadwayError: the text is no Unicode text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HeadwayError(f"the text is not Unicode from character {error.start + 1} on; give it as UTF-8") from None
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
    mix = model.mix.tolist()
    return Explanation(
        text=text,
        classes=tuple(package.classes),
        predicted=predicted,
        probabilities=probabilities.numpy(),
        spans=spans,
        kept=kept,
        linear=_linear_part(model.ngrams, tokens, predicted, mix[0], text, spans) if model.ngrams is not None else None,
        attention=_attention_part(model.attention, tokens, predicted, mix[1]),
    )


def centred(logits: Tensor) -> Tensor:
    """Logits, (…, C), less their mean over the classes."""
    return logits - logits.mean(dim=-1, keepdim=True)


# The linear part


def _linear_part(
    model: NgramClassifier, tokens: Tensor, predicted: int, mix: float, text: str, spans: np.ndarray
) -> LinearPart:
    T = tokens.shape[1]
    orders = range(1, min(model.max_order, T) + 1)
    starts = torch.cat([torch.arange(T - order + 1) for order in orders])  # (N,): in the order of ngrams()
    lengths = torch.cat([torch.full((T - order + 1,), order) for order in orders])  # (N,)
    _, keys = ngrams(tokens, model.max_order)  # (N,)
    _, places, values = model.features(tokens)  # each (F,): the text's known n-grams, ascending
    bias = mix * centred(model.bias.double())
    contributions = mix * values.double()[:, None] * centred(model.weight[places].double())  # (F, C)
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
        mix=mix,
        logits=(contributions.sum(dim=0) + bias).numpy(),
        bias=float(bias[predicted]),
        tokens=shares.numpy(),
        strongest_for=tuple(one for one in named if one.contribution > 0)[:STRONGEST],
        strongest_against=tuple(one for one in reversed(named) if one.contribution < 0)[:STRONGEST],
    )


def _surface(text: str, spans: np.ndarray) -> str:
    """The tokens as they stand in the text, a space for whatever stands between two of them."""
    words, end = "", -1
    for first, last in spans.tolist():
        between = text[end:first] if 0 <= end < first else ""
        words += (" " if between else "") + text[max(first, end) : last]
        end = max(end, last)
    return " ".join(words.split()) or "∅"


# The attention part


def _attention_part(model: AttentionClassifier, tokens: Tensor, predicted: int, mix: float) -> AttentionPart:
    seen = truncate(np.arange(tokens.shape[1]), model.params.max_length)
    tokens = tokens[:, seen]  # (1, S)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        words, embedded = model.embedding(tokens), model.embed(tokens)  # each (1, S, d)
        maps, encoded = _maps(model, embedded, everywhere)
        pooling = model.pooling.weights(encoded, everywhere)[0]  # (S, h)
        logits = mix * centred(model.classify(embedded, everywhere)[0])
        blank = mix * centred(model.classify(torch.zeros_like(embedded), everywhere)[0])
    shares = integrated_gradients(model, words[0], (embedded - words)[0], predicted) * mix
    return AttentionPart(
        mix=mix,
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
    """What each position of a text adds to a class's logit less the classes' mean, compared with a blank text.

    A pair's embedding stands at its second token; what it adds is shared by the two. The first pair is of the text's start
    and the first token, whose alone it is.

    Args:
        words: embeddings of the tokens, (S, d).
        pairs: embeddings of the pairs that end at each token, (S, d).

    Returns:
        float64, (S,).
    """
    from captum.attr import IntegratedGradients

    def logit(x: Tensor) -> Tensor:
        return centred(model.classify(x, torch.ones(x.shape[:2], dtype=torch.bool)))[:, target]

    embedded = (words + pairs)[None]  # (1, S, d)
    with torch.no_grad():
        difference = logit(embedded) - logit(torch.zeros_like(embedded))
    # Gradients alone, averaged along the way: words and pairs then share one integral.
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
    """The attention weights of each layer, if there are not too many, and the encoded text, (1, S, d)."""
    S = embedded.shape[1]
    heads = model.params.n_layers * model.params.n_heads
    if heads * S * model.encoder.window(S) > MAX_WEIGHTS:
        return None, model.encoder(embedded, mask)
    encoded, weights = model.encoder.forward_with_weights(embedded, mask)
    return tuple(layer[0].numpy() for layer in weights), encoded
