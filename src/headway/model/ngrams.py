"""The linear part of the classifier: logistic regression over the n-grams of a text, without attention.

With tf_f the number of occurrences of n-gram f in a text, and p_fc and q_fc the numbers of training texts with f in class c and
in all other classes:

    r_fc   = log (p_fc + 1) / (Σ_g p_gc + F)  -  log (q_fc + 1) / (Σ_g q_gc + F)     log-count ratio of f for c
    s_f    = max_c |r_fc|                                                            scale of f
    x_f    = s_f · (1 + log tf_f) / ‖1 + log tf‖                                     the features of a text
    logits = W x + b                                                                 fitted by logistic regression

For two classes |r_f0| = |r_f1|, and W can absorb the sign, so this is the model of Wang & Manning 2012, "Baselines and Bigrams:
Simple, Good Sentiment and Topic Classification", with log-frequencies and a logistic loss. The fit is convex, so its solution
does not depend on a seed. Many long texts need little regularisation, few short ones much, so several strengths are tried and
the one with the lowest loss on validation texts is kept. After the fit s is multiplied into W; the model is W, b and the hashes
of the n-grams.

Shapes: B texts, T positions, F n-grams in the table, C classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model.combination import fit_weights
from headway.params import NgramParams

#: Of the hash. It is odd, so that multiplying by it is invertible modulo 2^64; a collision occurs in one of 10^7 data sets.
MULTIPLIER = 6_364_136_223_846_793_005
#: Largest F · C; with many classes the rarest n-grams are left out.
MAX_WEIGHTS = 8_000_000
#: Iterations of the solver for each regularisation strength.
ITERATIONS = 80

#: Padded tokens, (B, T), and labels, (B,).
Batch = tuple[Tensor, Tensor]


class NgramClassifier(nn.Module):
    """A table of n-grams with one weight per class.

    Its tensors are buffers, not parameters, because :meth:`fit` sets them and no gradient reaches them.
    """

    keys: Tensor  # hashes of the n-grams, ascending, int64, (F,)
    weight: Tensor  # (F, C)
    bias: Tensor  # (C,)
    inverse_regularisation: float | None = None  # chosen by :meth:`fit`; None if it fitted no weights; not saved

    def __init__(self, n_features: int, n_classes: int, max_order: int) -> None:
        super().__init__()
        self.max_order = max_order
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
        rows, keys = ngrams(tokens, self.max_order)
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

    @classmethod
    def fit(
        cls,
        train: Iterable[Batch],
        validation: Iterable[Batch],
        n_classes: int,
        params: NgramParams,
        balanced: bool = False,
    ) -> Self:
        """Fit the table, the weights and the bias with scikit-learn's L-BFGS.

        The values of C are tried in ascending order, each fit starting from the previous one, until the loss on validation
        texts rises. That loss is taken after calibration with :func:`fit_weights`.

        Args:
            train, validation: batches of texts, iterable repeatedly in the same order: padded tokens, (B, T), and labels, (B,).
            n_classes: C. A class without training texts gets a low bias.
            balanced: whether to weight classes inversely to their rows in the fit; the choice of C does not.
        """
        keys = _frequent(train, params, MAX_WEIGHTS // n_classes)
        labels = torch.cat([some for _, some in train]).numpy()
        fitted = cls(len(keys), n_classes, params.max_order)
        fitted.keys = keys
        present = np.bincount(labels, minlength=n_classes)
        fitted.bias = torch.from_numpy(np.log(present + 1) - np.log(len(labels) + n_classes)).float()
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
        from scipy.sparse import csr_matrix
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        entries: list[Sequence[np.ndarray]] = []
        done = 0
        for tokens, _ in train:
            rows, columns, values = self.features(tokens)
            entries.append(((rows + done).numpy(), columns.numpy().astype(np.int32), values.numpy()))
            done += len(tokens)
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        shape = (len(labels), len(self.keys))
        n_classes = len(self.bias)
        one_hot = csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), n_classes))
        contains = csr_matrix((np.ones(len(row)), (row, column)), shape=shape)
        scale = _scale(np.asarray((contains.T @ one_hot).todense()))  # (F,)
        del contains
        x = csr_matrix((value * scale.astype(np.float32)[column], (row, column)), shape=shape)
        del entries, row, column, value
        solver = LogisticRegression(
            max_iter=ITERATIONS, tol=1e-8, class_weight="balanced" if balanced else None, warm_start=True
        )
        lowest = math.inf
        for strength in sorted(params.inverse_regularisation):
            before = self.weight.clone(), self.bias.clone()
            with warnings.catch_warnings(), threadpool_limits(1):  # sums in one order, whatever the number of cores
                warnings.simplefilter("ignore", ConvergenceWarning)
                solver.set_params(C=strength).fit(x, labels)
            self._copy_from(solver, scale)
            batches = [(self(tokens), some) for tokens, some in validation]
            logits, truth = (torch.cat(part) for part in zip(*batches, strict=True))  # (N, C), (N,)
            loss = fit_weights(logits[None], truth)[1]
            if loss >= lowest:
                self.weight, self.bias = before
                break
            lowest, self.inverse_regularisation = loss, strength

    def _copy_from(self, solver: Any, scale: np.ndarray) -> None:
        """Set weights and bias from a fitted solver, with the scale, (F,), multiplied into the weights."""
        weight, intercept = solver.coef_, solver.intercept_  # one row for two classes, else one per class
        if len(solver.classes_) == 2:
            weight, intercept = np.concatenate([-weight, weight]) / 2, np.concatenate([-intercept, intercept]) / 2
        seen = torch.from_numpy(solver.classes_.astype(np.int64))
        self.weight[:, seen] = torch.from_numpy((weight * scale).T).float()
        self.bias[seen] = torch.from_numpy(intercept).float()


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


def _frequent(batches: Iterable[Batch], params: NgramParams, limit: int) -> Tensor:
    """Hashes, ascending, of the ``limit`` most frequent n-grams that occur in at least ``min_document_frequency`` texts."""
    all_keys, all_counts = [], []
    for tokens, _ in batches:
        rows, keys = ngrams(tokens, params.max_order)
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


def _scale(texts: np.ndarray) -> np.ndarray:
    """s_f, (F,), from the numbers of texts of each class that have each n-gram, (F, C)."""
    n_features = len(texts)
    others = texts.sum(axis=1, keepdims=True) - texts
    for_class = np.log(texts + 1) - np.log(texts.sum(axis=0) + n_features)
    against = np.log(others + 1) - np.log(others.sum(axis=0) + n_features)
    return np.asarray(np.abs(for_class - against).max(axis=1))
