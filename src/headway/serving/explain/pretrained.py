"""Contributions of the words through a pretrained encoder.

Integrated gradients give each sub-word its contribution. Sub-words are then merged to words: a word is the shortest part of the
text that cuts neither a token of the n-grams nor a sub-word, so that both parts' contributions can be compared.

Shapes: S sub-words read by the encoder, W words, C classes, L layers, h heads, d features.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headway.data.tokenization.subwords import SubwordEncoder
from headway.data.tokenization.tokenizer import truncate
from headway.model.pretrained import PretrainedClassifier
from headway.model.static import StaticEncoder
from headway.serving.explain import integral
from headway.serving.explain.integral import centred

#: Ends of segments. ModernBERT and DeBERTa normalise the embeddings before anything else, so that their length only counts near
#: zero, and most of the integral is there.
DECADES = (0.0, *(10.0**exponent for exponent in range(-8, 1)))
#: Numbers of integration steps and ends of segments, see :func:`integral.integrated_gradients`.
ATTEMPTS: tuple[tuple[int, tuple[float, ...]], ...] = (
    (16, (0.0, 1.0)),
    (64, (0.0, 1.0)),
    (16, DECADES),
    (48, DECADES),
)
SUBWORDS_PER_BATCH = 2_048


@dataclass(frozen=True)
class Subwords:
    """The sub-words of a text that the encoder reads.

    Attributes:
        names: as in the encoder's vocabulary, (S,).
        ids: the encoder's own plus 1, int64, (S,).
        spans: start and end of each in the text, in characters, without white space around it, (S, 2). Start and end are the
            same for sub-words without visible characters, such as "[CLS]".
        kept: positions in the whole text's sub-words, (S,), with a gap where a long text was truncated; those that the encoder
            leaves out are not counted.
        words: number of each one's word in the text, ascending, (S,); -1 for those without visible characters.
    """

    names: tuple[str, ...]
    ids: np.ndarray
    spans: np.ndarray
    kept: np.ndarray
    words: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """Indices of the first and the last sub-word of each word, (W, 2)."""
        inside = np.flatnonzero(self.words >= 0)
        _, first, counts = np.unique(self.words[inside], return_index=True, return_counts=True)
        return np.stack([inside[first], inside[first + counts - 1]], axis=1)

    @property
    def word_spans(self) -> np.ndarray:
        """Start and end of each word in the text, in characters, (W, 2); of a word that was cut, only the part that is read."""
        visible = [self.spans[self.words == word] for word in range(len(self.edges))]
        return np.array([(spans[:, 0].min(), spans[:, 1].max()) for spans in visible], dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class PretrainedPart:
    """Contributions of the words through a pretrained encoder.

    Attributes:
        weight: of the whole part.
        logits: of the classes, minus their mean, (C,).
        subwords: what the encoder reads.
        blank: logit of the predicted class for a blank text of this length: all embeddings are zero, special sub-words included,
            and only positions are left, if the encoder has them.
        contributions: integrated gradients of the sub-words, (S,); together with ``blank`` and ``left_over`` they sum to the
            predicted class's logit.
        left_over: residual from the finite number of integration steps.
        pooling: how the text's vector is made of the sub-words; "layers", "mean", "first" or "max".
        shares: share of each sub-word in the text's vector, (S,); for "max" the share of features that are largest there.
        maps: attention weights of each layer, (h, S, S), one row per query; none of a static encoder, which has no layers. None
            if there are more than MAX_WEIGHTS.
    """

    weight: float
    logits: np.ndarray
    subwords: Subwords
    blank: float
    contributions: np.ndarray
    left_over: float
    pooling: str
    shares: np.ndarray
    maps: tuple[np.ndarray, ...] | None

    @property
    def words(self) -> np.ndarray:
        """Contribution of each word, (W,); with ``special``, they sum to those of the sub-words."""
        inside = self.subwords.words >= 0
        return np.bincount(self.subwords.words[inside], weights=self.contributions[inside])

    @property
    def special(self) -> float:
        """Contribution of the sub-words without visible characters."""
        return float(self.contributions[self.subwords.words < 0].sum())


def read_subwords(encoder: SubwordEncoder, text: str, tokens: np.ndarray) -> Subwords:
    """The sub-words of a text, as the model reads them, and their words.

    ``tokens`` are the start and the end of all tokens of the text for the n-grams, (…, 2).
    """
    (cleaned,) = encoder.cleaned([text])
    encoding = encoder.tokenizer.encode(cleaned)
    ids = encoder.ids_of(encoding)
    names = encoding.tokens or [encoder.tokenizer.id_to_token(int(ids[0])) or ""]
    places = encoder.places(ids)
    kept = truncate(np.arange(len(places)), encoder.max_length)
    places = places[kept]
    spans = _visible(cleaned, np.array(encoding.offsets or [(0, 0)], dtype=np.int64)[places])
    return Subwords(
        names=tuple(names[place] for place in places),
        ids=ids[places].astype(np.int64) + 1,
        spans=spans,
        kept=kept,
        words=word_numbers(spans, kept, _visible(text, tokens)),
    )


def word_numbers(spans: np.ndarray, kept: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Number of the word of each sub-word, ascending from 0, (S,); -1 for an empty span.

    Sub-words belong to the same word if they follow each other in the text, and a chain of sub-words and tokens that share
    characters connects them.

    Args:
        spans: start and end of each sub-word, (S, 2).
        kept: their positions among all sub-words, (S,).
        tokens: start and end of each token, (…, 2).
    """
    numbers = np.full(len(spans), -1, dtype=np.int64)
    every = np.concatenate([spans, tokens])
    every = every[every[:, 0] < every[:, 1]]
    every = every[np.argsort(every[:, 0], kind="stable")]
    ends = np.maximum.accumulate(every[:, 1]) if len(every) else every[:, 1]
    # A span that starts where all before it have ended is the first of a chain.
    starts = every[np.concatenate([[True], every[1:, 0] >= ends[:-1]])[: len(every)], 0]
    chains = np.searchsorted(starts, spans[:, 0], side="right")  # (S,)
    number, before = -1, -1
    for index in np.flatnonzero(spans[:, 0] < spans[:, 1]).tolist():
        cut = before >= 0 and kept[index] - kept[before] != index - before
        if before < 0 or cut or chains[index] != chains[before]:
            number += 1
        numbers[index], before = number, index
    return numbers


def pretrained_part(model: PretrainedClassifier, subwords: Subwords, predicted: int, weight: float) -> PretrainedPart:
    """Explain the encoder's logit of the predicted class."""
    tokens = torch.from_numpy(subwords.ids)[None]  # (1, S)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        embedded = model.embed(tokens)  # (1, S, d)
        encoded, maps = _encode(model, embedded, mask)
        logits = weight * centred(model(tokens)[0])
        blank = weight * centred(model.classify(torch.zeros_like(embedded), mask)[0])
    shares = integral.integrated_gradients(
        model.classify,
        embedded,
        predicted,
        lambda gradient: (gradient * embedded[0]).sum(dim=1),
        ATTEMPTS,
        SUBWORDS_PER_BATCH,
    )
    shares *= weight
    return PretrainedPart(
        weight=weight,
        logits=logits.double().numpy(),
        subwords=subwords,
        blank=float(blank[predicted]),
        contributions=shares.numpy(),
        left_over=float(logits[predicted] - blank[predicted] - shares.sum()),
        pooling=model.pooling,
        shares=_pooling_shares(encoded[0], model.pooling),
        maps=maps,
    )


def _encode(model: PretrainedClassifier, embedded: Tensor, mask: Tensor) -> tuple[Tensor, tuple[np.ndarray, ...] | None]:
    """The encoded text, (1, S, d), and the attention weights of each layer, or None above MAX_WEIGHTS."""
    encoder: Any = model.encoder
    if isinstance(encoder, StaticEncoder):
        return embedded, ()
    config = encoder.config
    wanted = config.num_hidden_layers * config.num_attention_heads * mask.shape[1] ** 2 <= integral.MAX_WEIGHTS
    if wanted:
        # Only plain attention returns its weights. A copy that shares all tensors leaves the model as it is for other threads.
        encoder = copy.deepcopy(encoder, {id(tensor): tensor for tensor in (*encoder.parameters(), *encoder.buffers())})
        encoder.set_attn_implementation("eager")
    found = encoder(inputs_embeds=embedded, attention_mask=mask, output_attentions=wanted)
    return found.last_hidden_state, tuple(layer[0].numpy() for layer in found.attentions) if wanted else None


def _pooling_shares(encoded: Tensor, pooling: str) -> np.ndarray:
    """Share of each position in the pooled vector, (S,), of hidden states, (S, d)."""
    S, d = encoded.shape
    if pooling == "first":
        shares: np.ndarray = np.eye(1, S)[0]
        return shares
    if pooling == "max":
        return np.bincount(encoded.argmax(dim=0).numpy(), minlength=S) / d
    return np.full(S, 1 / S)


def _visible(text: str, spans: np.ndarray) -> np.ndarray:
    """Spans in a text without the white space at both ends of them."""
    found = []
    for start, end in spans.tolist():
        part = text[start:end]
        first = start + len(part) - len(part.lstrip())
        found.append((first, max(first, start + len(part.rstrip()))))
    return np.array(found, dtype=np.int64).reshape(-1, 2)
