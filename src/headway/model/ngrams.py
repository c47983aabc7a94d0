"""The linear part of the classifier: logistic regression over the n-grams of a text, without attention.

With tf_f the number of occurrences of n-gram f in a text, and p_fc and q_fc the numbers of training texts with f in class c and
in all other classes:

    r_fc   = log (p_fc + 1) / (Σ_g p_gc + F)  -  log (q_fc + 1) / (Σ_g q_gc + F)     log-count ratio of f for c
    s_f    = max_c |r_fc|   or   log (1 + N) / (1 + n_f) + 1                         scale of f
    x_f    = s_f · (1 + log tf_f) / ‖1 + log tf‖                                     the features of a text
    logits = W x + b                                                                 fitted by logistic regression

An n-gram is of tokens; if tokens are sub-words, n-grams of whole words are features too, see :mod:`headway.model.words`.
N is the number of training texts, n_f of those with f. s is divided by the root mean square length of x over the training texts,
so that regularisation means the same for both scales. For two classes |r_f0| = |r_f1|, and W can absorb the sign, so with the
first scale this is the model of Wang & Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification",
with log-frequencies and a logistic loss. With many classes every rare n-gram has a high ratio for one of them, and the second
scale, that of TF-IDF, is often better. The fit is convex, so its solution does not depend on a seed; see
:mod:`headway.model.logistic`. Many long texts need little regularisation, few short ones much. So both scales and several
strengths are tried, and the fit with the lowest loss on validation texts is kept. Afterwards s is multiplied into W; the model is
W, b and the hashes of the n-grams.

Shapes: B texts, T positions, F n-grams in the table, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model import logistic
from headway.model.regularisation import HeldOut, balancing, bias_of, fits
from headway.model.words import MULTIPLIER, Pieces, word_ngrams
from headway.params import NgramParams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Largest F · C; with many classes the rarest n-grams are left out.
MAX_WEIGHTS = 8_000_000

#: Padded tokens, (B, T), and labels, (B,).
Batch = tuple[Tensor, Tensor]


class NgramClassifier(nn.Module):
    """A table of n-grams with one weight per class.

    Its tensors are buffers, not parameters, because :meth:`fit` sets them and no gradient reaches them.
    """

    keys: Tensor  # hashes of the n-grams, ascending, int64, (F,)
    weight: Tensor  # (F, C)
    bias: Tensor  # (C,)
    # Chosen by :meth:`fit`; None if it fitted no weights. They are not saved.
    inverse_regularisation: float | None = None
    scaling: str | None = None

    def __init__(self, n_features: int, n_classes: int, max_order: int, max_words: int = 0) -> None:
        """Make an empty table for n-grams of at most ``max_order`` tokens, and of at most ``max_words`` words of sub-words."""
        super().__init__()
        self.max_order = max_order
        self.max_words = max_words
        self.pieces: Pieces | None = None
        self.register_buffer("keys", torch.zeros(n_features, dtype=torch.int64))
        self.register_buffer("weight", torch.zeros(n_features, n_classes))
        self.register_buffer("bias", torch.zeros(n_classes))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, (B, C), of padded tokens, int64, (B, T); the bias for a text without an n-gram of the table."""
        rows, columns, values = self.features(tokens)
        if not len(columns):
            return self.bias.expand(len(tokens), -1)
        starts = torch.searchsorted(rows, torch.arange(len(tokens), device=tokens.device))
        return F.embedding_bag(columns, self.weight, starts, mode="sum", per_sample_weights=values) + self.bias

    def features(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and values, in order, of the sparse matrix of log-frequencies, (B, F), with rows scaled to length 1."""
        rows, keys = self.occurrences(tokens)
        n_features = len(self.keys)
        if not n_features:
            return rows[:0], rows[:0], torch.zeros(0)
        columns = torch.searchsorted(self.keys, keys).clamp_(max=n_features - 1)
        known = self.keys[columns] == keys
        cells, counts = torch.unique(rows[known] * n_features + columns[known], return_counts=True)
        rows, columns = cells // n_features, cells % n_features
        values = 1 + counts.float().log()
        lengths = torch.zeros(len(tokens), device=tokens.device).index_add_(0, rows, values.square()).sqrt()
        return rows, columns, values / lengths[rows]

    def set_vocabulary(self, vocabulary: Sequence[bytes] | None) -> None:
        """Set the bytes of each sub-word, with the space before it; None if tokens are words, which need no n-grams of words."""
        self.pieces = Pieces.of(vocabulary) if vocabulary is not None and self.max_words else None
        self.max_words = self.max_words if self.pieces else 0

    def occurrences(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Row and hash, both int64, of all n-grams of padded tokens, int64, (B, T), those of words last."""
        rows, keys = ngrams(tokens, self.max_order)
        if self.pieces is None:
            return rows, keys
        words = word_ngrams(tokens, self.pieces, self.max_words)
        return torch.cat([rows, words.rows]), torch.cat([keys, words.keys])

    @classmethod
    def fit(
        cls,
        train: Iterable[Batch],
        validation: Iterable[Batch],
        n_classes: int,
        params: NgramParams,
        balanced: bool = False,
        vocabulary: Sequence[bytes] | None = None,
    ) -> Self:
        """Fit the table, the weights and the bias.

        Every allowed scaling is tried, and with each the values of C in ascending order, each fit starting from the previous
        one, until the loss on validation texts rises. That loss is taken after calibration, see
        :mod:`headway.model.regularisation`. The fit
        with the lowest loss is kept.

        Args:
            train, validation: batches of texts, iterable repeatedly in the same order: padded tokens, (B, T), and labels, (B,).
            n_classes: C. A class without training texts gets a low bias.
            balanced: whether to weight classes inversely to their rows in the fit; the choice of C and scaling does not.
            vocabulary: the bytes of each sub-word; None if tokens are words.
        """
        fitted = cls(0, n_classes, params.max_order, params.max_words)
        fitted.set_vocabulary(vocabulary)
        occurrences = (fitted.occurrences(tokens) for tokens, _ in train)
        keys = fitted.keys = _frequent(occurrences, params, MAX_WEIGHTS // n_classes)
        fitted.weight = torch.zeros(len(keys), n_classes)
        labels = torch.cat([some for _, some in train]).numpy()
        present = np.bincount(labels, minlength=n_classes)
        fitted.bias = bias_of(present)
        if len(keys) and (present > 0).sum() > 1:
            fitted._fit_weights(train, labels, validation, params, balanced)
        return fitted

    def _fit_weights(
        self,
        train: Iterable[Batch],
        labels: np.ndarray,
        validation: Iterable[Batch],
        params: NgramParams,
        balanced: bool,
    ) -> None:
        x = self._matrix(train)
        truth = torch.cat([some for _, some in validation])
        classes, own = np.unique(labels, return_inverse=True)  # own: labels among the classes that have texts
        held_out = HeldOut(logistic.Rows(self._matrix(validation)), truth, classes, self.bias)
        row_weights = balancing(own) if balanced else None
        texts = _texts_of_classes(x, own)  # (F, classes)
        strengths = sorted(params.inverse_regularisation)
        lowest = math.inf
        for scaling in SCALES if params.scaling == "auto" else (params.scaling,):
            scaled, scale = _scaled(x, SCALES[scaling](texts, len(own)))
            problem = logistic.Problem(scaled, own, len(classes), row_weights)
            for strength, loss, weight, bias in fits(problem, scale, strengths, held_out):
                if loss < lowest:
                    lowest, self.inverse_regularisation, self.scaling = loss, strength, scaling
                    self.weight, self.bias = weight, bias
            if self.inverse_regularisation is not None:  # strengths mean the same for each scale
                strengths = strengths[max(0, strengths.index(self.inverse_regularisation) - 1) :]

    def _matrix(self, batches: Iterable[Batch]) -> csr_matrix:
        """The features of all texts, (N, F)."""
        from scipy.sparse import csr_matrix

        columns, values, counts = [], [], []
        for tokens, _ in batches:
            row, column, value = self.features(tokens)
            columns.append(column.numpy().astype(np.int32))
            values.append(value.numpy())
            counts.append(torch.bincount(row, minlength=len(tokens)).numpy())
        starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else np.zeros(1, np.int64)
        all_columns = np.concatenate(columns) if columns else np.zeros(0, np.int32)
        all_values = np.concatenate(values) if values else np.zeros(0, np.float32)
        return csr_matrix((all_values, all_columns, starts), shape=(len(starts) - 1, len(self.keys)))


def ngrams(tokens: Tensor, max_order: int) -> tuple[Tensor, Tensor]:
    """Row and hash, both int64, of all n-grams, from single tokens to ``max_order`` tokens, of padded tokens, int64, (B, T).

    The hash of tokens t_1 … t_n is Σ_i (t_i + 1) · MULTIPLIER^(n - i) modulo 2^64. 0 is padding, at the end of a row.
    """
    B, T = tokens.shape
    rows = torch.arange(B, device=tokens.device)[:, None].expand(B, T)
    hashed = torch.zeros_like(tokens)
    all_rows, all_keys = [], []
    for order in range(1, min(max_order, T) + 1):
        last = tokens[:, order - 1 :]  # (B, T - order + 1): the last token of the n-gram that starts here
        hashed = hashed[:, : last.shape[1]] * MULTIPLIER + last + 1
        real = last != 0
        all_rows.append(rows[:, : last.shape[1]][real])
        all_keys.append(hashed[real])
    if not all_rows:
        return tokens.new_zeros(0), tokens.new_zeros(0)
    return torch.cat(all_rows), torch.cat(all_keys)


def _frequent(batches: Iterable[tuple[Tensor, Tensor]], params: NgramParams, limit: int) -> Tensor:
    """Hashes, ascending, of the ``limit`` most frequent n-grams that occur in at least ``min_document_frequency`` texts.

    ``batches`` are the rows and hashes of all n-grams.
    """
    all_keys, all_counts = [], []
    for rows, keys in batches:
        distinct, columns = torch.unique(keys, return_inverse=True)
        cells = torch.unique(rows * max(1, len(distinct)) + columns)  # one per text and n-gram
        all_keys.append(distinct)
        all_counts.append(torch.bincount(cells % max(1, len(distinct)), minlength=len(distinct)))
    if not all_keys:
        return torch.zeros(0, dtype=torch.int64)
    distinct, columns = torch.unique(torch.cat(all_keys), return_inverse=True)
    texts = torch.zeros(len(distinct), dtype=torch.int64).index_add_(0, columns, torch.cat(all_counts))
    kept = torch.nonzero(texts >= params.min_document_frequency).flatten()
    limit = min(limit, params.max_features)
    if len(kept) > limit:
        kept = kept[torch.argsort(texts[kept], descending=True, stable=True)[:limit]].sort().values
    frequent: Tensor = distinct[kept]
    return frequent


def _texts_of_classes(x: csr_matrix, labels: np.ndarray) -> np.ndarray:
    """Numbers of texts of each class that have each n-gram, float64, (F, classes)."""
    from scipy.sparse import csr_matrix

    contains = csr_matrix((np.ones(x.nnz, np.float32), x.indices, x.indptr), shape=x.shape)
    one_hot = csr_matrix((np.ones(len(labels)), (labels, np.arange(len(labels)))))
    return np.asarray((one_hot @ contains).toarray().T, dtype=np.float64)


def _log_count_ratio(texts: np.ndarray, _: int) -> np.ndarray:
    """max_c |r_fc|, (F,), from the numbers of texts of each class that have each n-gram, (F, classes)."""
    n_features = len(texts)
    others = texts.sum(axis=1, keepdims=True) - texts
    for_class = np.log(texts + 1) - np.log(texts.sum(axis=0) + n_features)
    against = np.log(others + 1) - np.log(others.sum(axis=0) + n_features)
    return np.asarray(np.abs(for_class - against).max(axis=1))


def _inverse_document_frequency(texts: np.ndarray, n_texts: int) -> np.ndarray:
    """log((1 + N) / (1 + n_f)) + 1, (F,), as in scikit-learn."""
    return np.asarray(np.log((1 + n_texts) / (1 + texts.sum(axis=1))) + 1)


SCALES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "log_count_ratio": _log_count_ratio,
    "inverse_document_frequency": _inverse_document_frequency,
}


def _scaled(x: csr_matrix, scale: np.ndarray) -> tuple[csr_matrix, Tensor]:
    """The features times a scale, (F,), that is divided by the root mean square of the rows' lengths; and that scale, float32.

    So a regularisation strength means the same whatever the scale.
    """
    from scipy.sparse import csr_matrix

    values = x.data * scale.astype(np.float32)[x.indices]
    length = math.sqrt(np.square(values, dtype=np.float64).sum() / x.shape[0]) or 1.0
    scaled = csr_matrix((values / np.float32(length), x.indices, x.indptr), shape=x.shape)
    return scaled, torch.from_numpy((scale / length).astype(np.float32))
