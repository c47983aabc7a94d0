"""How much of a text a model does not know, by which monitoring notices that texts change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers.models import BPE

from headway.data.batching import TokenBudgetSampler, pad
from headway.data.tokenization.tokenizer import UNKNOWN_ID
from headway.model.words import word_ngrams

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

TOKENS_PER_BATCH = 16_384


def unknown_shares(package: ModelPackage, texts: Sequence[str]) -> np.ndarray:
    """The share of each text that a model does not know, float32, (texts,), from 0 to 1.

    It is the share of tokens that are not in the vocabulary. Pieces of bytes (the tokenizer ``bpe``) are all in it, so with them
    it is the share of words that the n-grams do not know; NaN if the model has no n-grams of words.
    """
    encoded = package.encoder(texts)
    if not isinstance(package.encoder.tokenizer.model, BPE):
        return np.array([np.mean(ids == UNKNOWN_ID) for ids in encoded], dtype=np.float32)
    shares = np.full(len(encoded), np.nan, dtype=np.float32)
    ngrams = package.classifier.ngrams
    if ngrams is None or ngrams.pieces is None or not encoded:
        return shares
    with torch.inference_mode():
        for indices in TokenBudgetSampler(np.array([len(ids) for ids in encoded]), TOKENS_PER_BATCH):
            words = word_ngrams(pad([encoded[index] for index in indices]), ngrams.pieces, 1)
            rows, known = words.rows.numpy(), torch.isin(words.keys, ngrams.keys).numpy()
            total = np.bincount(rows, minlength=len(indices))
            unknown = np.bincount(rows, weights=~known, minlength=len(indices))
            shares[indices] = np.where(total > 0, unknown / np.maximum(1, total), np.nan)
    return shares
