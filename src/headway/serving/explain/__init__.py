"""Explanation of a prediction: the contribution of each part, n-gram and token to the logit.

A softmax does not change if the same number is added to all logits, so a logit is taken relative to the classes' mean:

    logit_c  =  w_0 · (n-grams + bias)  +  w_1 · (attention)        each minus its mean over the classes

The linear part is a sum: an n-gram contributes value × weight, divided equally among its occurrences, and within an occurrence
among its tokens. The attention part is decomposed by integrated gradients (Sundararajan, Taly & Yan 2017, "Axiomatic Attribution
for Deep Networks"): the gradient is integrated along the line from a blank text, whose embeddings are all zero, to the text. The
contributions of all positions sum to the difference of the two logits. The blank text is unlike any training text, so the
model's logit for it serves as an origin only. In a pretrained encoder the positions are sub-words, whose contributions are added
up to words.

Shapes: T tokens of the text, S of them read by the attention part, C classes, h heads, d = d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headway.data.tokenization.tokenizer import UNKNOWN_ID, truncate
from headway.model.pretrained import PretrainedClassifier
from headway.serving.explain.attention import AttentionPart, attention_part
from headway.serving.explain.linear import LinearPart, Ngram, linear_part
from headway.serving.explain.pretrained import PretrainedPart, Subwords, pretrained_part, read_subwords
from headway.serving.package import ModelPackage, require_text

__all__ = ["AttentionPart", "Explanation", "LinearPart", "Ngram", "PretrainedPart", "Subwords", "explain"]


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
        attention: of the self-attention part, whichever kind the model has.
    """

    text: str
    classes: tuple[str, ...]
    predicted: int
    probabilities: np.ndarray
    spans: np.ndarray
    kept: np.ndarray
    linear: LinearPart | None
    attention: AttentionPart | PretrainedPart


def explain(package: ModelPackage, text: str) -> Explanation:
    """Explain a package's prediction for one text; HeadwayError if it is missing, empty, not a string or not valid Unicode."""
    text = require_text(text, "text")
    encoding = package.encoder.tokenizer.encode(text, add_special_tokens=False)
    kept = truncate(np.arange(max(1, len(encoding.ids))), package.encoder.max_length)
    ids = np.array(encoding.ids or [UNKNOWN_ID], dtype=np.int64)[kept]
    every_span = np.array(encoding.offsets or [(0, 0)], dtype=np.int64)
    spans = every_span[kept]
    tokens = torch.from_numpy(ids)[None]  # (1, T)
    subwords = read_subwords(package.subwords, text, every_span) if package.subwords is not None else None
    model = package.classifier
    with torch.no_grad():
        linear, attended = model.parts(tokens, None if subwords is None else torch.from_numpy(subwords.ids)[None])
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
        linear=linear_part(model.ngrams, tokens, predicted, weights[0], text, spans) if model.ngrams is not None else None,
        attention=_of_attention(package, tokens, subwords, predicted, weights[1]),
    )


def _of_attention(
    package: ModelPackage, tokens: Tensor, subwords: Subwords | None, predicted: int, weight: float
) -> AttentionPart | PretrainedPart:
    model = package.classifier.attention
    if not isinstance(model, PretrainedClassifier):
        return attention_part(model, tokens, predicted, weight)
    assert subwords is not None, "a pretrained encoder reads sub-words"
    return pretrained_part(model, subwords, predicted, weight)
