"""Contributions of the tokens through self-attention that was trained from scratch.

Shapes: S tokens read by the attention part, C classes, h heads, d = d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from headway.data.tokenization.tokenizer import truncate
from headway.model.classifier import AttentionClassifier
from headway.serving.explain import integral
from headway.serving.explain.integral import centred

#: Numbers of integration steps, see :func:`integral.integrated_gradients`.
STEPS = (64, 256, 1024)
TOKENS_PER_BATCH = 16_384


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


def attention_part(model: AttentionClassifier, tokens: Tensor, predicted: int, weight: float) -> AttentionPart:
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

    def contributions(gradient: Tensor) -> Tensor:
        by_word, by_pair = (gradient * words).sum(dim=1), (gradient * pairs).sum(dim=1)  # each (S,)
        shares = by_word + (by_pair + F.pad(by_pair[1:], (0, 1))) / 2
        shares[0] += by_pair[0] / 2
        return shares

    embedded = (words + pairs)[None]  # (1, S, d)
    attempts = [(steps, (0, 1)) for steps in STEPS]
    return integral.integrated_gradients(model.classify, embedded, target, contributions, attempts, TOKENS_PER_BATCH)


def _maps(model: AttentionClassifier, embedded: Tensor, mask: Tensor) -> tuple[tuple[np.ndarray, ...] | None, Tensor]:
    """The attention weights of each layer, or None above MAX_WEIGHTS, and the encoded text, (1, S, d)."""
    S = embedded.shape[1]
    heads = model.params.n_layers * model.params.n_heads
    if heads * S * model.encoder.window(S) > integral.MAX_WEIGHTS:
        return None, model.encoder(embedded, mask)
    encoded, weights = model.encoder.forward_with_weights(embedded, mask)
    return tuple(layer[0].numpy() for layer in weights), encoded
