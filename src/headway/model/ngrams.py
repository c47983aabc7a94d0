"""The linear part of the classifier: what runs of one, two and three tokens say by themselves, without any attention.

A text is the multiset of its n-grams. With tf_f the number of times that n-gram f stands in it, and p_fc, q_fc the numbers
of training texts of class c, and of all other classes, that hold f:

    r_fc   = log (p_fc + 1) / (Σ_g p_gc + F)  -  log (q_fc + 1) / (Σ_g q_gc + F)     how much f speaks for c; F n-grams
    s_f    = max_c |r_fc|                                                            how much f speaks at all
    x_f    = s_f · (1 + log tf_f) / ‖1 + log tf‖                                     the features of a text
    logits = W x + b                                                                 fitted by logistic regression

For two classes |r_f0| = |r_f1|, and since the sign can go into W this is the model of Wang & Manning 2012, "Baselines and
Bigrams: Simple, Good Sentiment and Topic Classification", with log-frequencies and a logistic loss. Its fit is convex: it has
one solution, whatever the seed. How far W should be held back depends on the texts: little where they are many and long, much
where they are few and short. So several strengths of regularisation are tried, and validation texts tell which one it is.
After the fit s is multiplied into W, and only W, b and the n-grams' hashes are kept.

Shapes: B texts, T positions, F n-grams that are known, C classes.
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

from headway.model.weighing import fit_weights
from headway.params import NgramParams

#: Odd, so that multiplying by it loses nothing modulo 2^64; two n-grams that occur share a hash once in 10^7 data sets.
MULTIPLIER = 6_364_136_223_846_793_005
#: Bounds the table for many classes: the rarest n-grams go first.
MAX_WEIGHTS = 8_000_000
#: Of the solver, for each strength of regularisation.
ITERATIONS = 80

#: Padded tokens, (B, T), and labels, (B,).
Batch = tuple[Tensor, Tensor]


class NgramClassifier(nn.Module):
    """A table of n-grams, each with a weight a class.

    Its tensors are buffers, not parameters: they are fitted at once by :meth:`fit`, not by steps along gradients.

    Args:
        n_features: F, n-grams in the table.
        n_classes: C.
        max_order: tokens in the longest n-gram.
    """

    keys: Tensor
    weight: Tensor
    bias: Tensor
    #: What :meth:`fit` has chosen, None where it had nothing to learn; no part of the model.
    inverse_regularisation: float | None = None

    def __init__(self, n_features: int, n_classes: int, max_order: int) -> None:
        super().__init__()
        self.max_order = max_order
        self.register_buffer("keys", torch.zeros(n_features, dtype=torch.int64))  # (F,), ascending
        self.register_buffer("weight", torch.zeros(n_features, n_classes))  # (F, C)
        self.register_buffer("bias", torch.zeros(n_classes))  # (C,)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of a padded batch.

        Args:
            tokens: int64, (B, T); 0 is padding and stands at the end.

        Returns:
            (B, C). A text without a known n-gram has the bias alone.
        """
        rows, places, values = self.features(tokens)
        if not len(places):
            return self.bias.expand(len(tokens), -1)
        starts = torch.searchsorted(rows, torch.arange(len(tokens), device=tokens.device))
        return F.embedding_bag(places, self.weight, starts, mode="sum", per_sample_weights=values) + self.bias

    def features(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The entries of the sparse matrix of log-frequencies, (B, F), each of whose rows has length 1.

        Returns:
            row, column and value of each entry, ordered by row and then by column.
        """
        rows, keys = ngrams(tokens, self.max_order)
        n_features = len(self.keys)
        if not n_features:
            return rows[:0], rows[:0], torch.zeros(0)
        places = torch.searchsorted(self.keys, keys).clamp_(max=n_features - 1)
        known = self.keys[places] == keys
        cells, counts = torch.unique(rows[known] * n_features + places[known], return_counts=True)
        rows, places = cells // n_features, cells % n_features
        values = 1 + counts.float().log()
        lengths = torch.zeros(len(tokens), device=tokens.device).index_add_(0, rows, values.square()).sqrt()
        return rows, places, values / lengths[rows]

    @classmethod
    def fit(
        cls,
        train: Iterable[Batch],
        validation: Iterable[Batch],
        n_classes: int,
        params: NgramParams,
        balanced: bool = False,
    ) -> Self:
        """Fit on training texts.

        Inverse regularisations are tried upwards, each fit starting from the one before, for as long as validation texts get
        likelier (:func:`fit_weights` says how likely they are, with the logits as sure as they are right).

        Args:
            train: batches of all training texts, which can be gone through again and again in the same order: padded tokens,
                int64, (B, T), and labels, (B,).
            validation: batches of the validation texts, likewise.
            n_classes: C. A class without texts gets a bias that speaks against it.
            params: the section of params.yaml.
            balanced: whether every class weighs the same in the fit; the choice goes by plain likelihood.

        Sources: see the module; the solver is scikit-learn's L-BFGS.
        """
        keys = _frequent(train, params, MAX_WEIGHTS // n_classes)
        labels = torch.cat([some for _, some in train]).numpy()
        fitted = cls(len(keys), n_classes, params.max_order)
        fitted.keys = keys
        present = np.bincount(labels, minlength=n_classes)
        fitted.bias = torch.from_numpy(np.log(present + 1) - np.log(len(labels) + n_classes)).float()
        if len(keys) and (present > 0).sum() > 1:
            fitted._learn(train, labels, validation, params, balanced)
        return fitted

    def _learn(
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
            rows, places, values = self.features(tokens)
            entries.append(((rows + done).numpy(), places.numpy().astype(np.int32), values.numpy()))
            done += len(tokens)
        row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        shape = (len(labels), len(self.keys))
        n_classes = len(self.bias)
        one_hot = csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), n_classes))
        holds = csr_matrix((np.ones(len(row)), (row, column)), shape=shape)
        scale = _scale(np.asarray((holds.T @ one_hot).todense()))  # (F,)
        del holds
        x = csr_matrix((value * scale.astype(np.float32)[column], (row, column)), shape=shape)
        del entries, row, column, value
        solver = LogisticRegression(
            max_iter=ITERATIONS, tol=1e-8, class_weight="balanced" if balanced else None, warm_start=True
        )
        least = math.inf
        for strength in sorted(params.inverse_regularisation):
            before = self.weight.clone(), self.bias.clone()
            with warnings.catch_warnings(), threadpool_limits(1):  # sums in one order, whatever the number of cores
                warnings.simplefilter("ignore", ConvergenceWarning)
                solver.set_params(C=strength).fit(x, labels)
            self._take(solver, scale)
            said = [(self(tokens), some) for tokens, some in validation]
            logits, truth = (torch.cat(part) for part in zip(*said, strict=True))
            loss = fit_weights(logits[None], truth)[1]
            if loss >= least:
                self.weight, self.bias = before
                break
            least, self.inverse_regularisation = loss, strength

    def _take(self, solver: Any, scale: np.ndarray) -> None:
        """The solver's weights as one a class, for n-grams without their scale, (F,)."""
        weight, intercept = solver.coef_, solver.intercept_  # one row for two classes, else one a class
        if len(solver.classes_) == 2:
            weight, intercept = np.concatenate([-weight, weight]) / 2, np.concatenate([-intercept, intercept]) / 2
        seen = torch.from_numpy(solver.classes_.astype(np.int64))
        self.weight[:, seen] = torch.from_numpy((weight * scale).T).float()
        self.bias[seen] = torch.from_numpy(intercept).float()


def ngrams(tokens: Tensor, max_order: int) -> tuple[Tensor, Tensor]:
    """All n-grams of a padded batch, from single tokens to runs of ``max_order``.

    Args:
        tokens: int64, (B, T); 0 is padding and stands at the end.

    Returns:
        the row of each n-gram, and its hash: Σ_i (token_i + 1) · M^(n - i) modulo 2^64.
    """
    B, T = tokens.shape
    rows = torch.arange(B, device=tokens.device)[:, None].expand(B, T)
    hashed = torch.zeros_like(tokens)
    found_rows, found_keys = [], []
    for order in range(1, min(max_order, T) + 1):
        last = tokens[:, order - 1 :]  # (B, T - order + 1): the last token of the n-gram that starts here
        hashed = hashed[:, : last.shape[1]] * MULTIPLIER + last + 1
        real = last != 0
        found_rows.append(rows[:, : last.shape[1]][real])
        found_keys.append(hashed[real])
    if not found_rows:
        return tokens.new_zeros(0), tokens.new_zeros(0)
    return torch.cat(found_rows), torch.cat(found_keys)


def _frequent(batches: Iterable[Batch], params: NgramParams, most: int) -> Tensor:
    """Hashes, ascending, of the n-grams in at least ``min_document_frequency`` texts; of too many the most frequent."""
    all_keys, all_counts = [], []
    for tokens, _ in batches:
        rows, keys = ngrams(tokens, params.max_order)
        distinct, places = torch.unique(keys, return_inverse=True)
        cells = torch.unique(rows * max(1, len(distinct)) + places)  # one a text and n-gram
        all_keys.append(distinct)
        all_counts.append(torch.bincount(cells % max(1, len(distinct)), minlength=len(distinct)))
    if not all_keys:
        return torch.zeros(0, dtype=torch.int64)
    distinct, places = torch.unique(torch.cat(all_keys), return_inverse=True)
    texts = torch.zeros(len(distinct), dtype=torch.int64).index_add_(0, places, torch.cat(all_counts))
    kept = torch.nonzero(texts >= params.min_document_frequency).flatten()
    most = min(most, params.max_features)
    if len(kept) > most:
        kept = kept[torch.argsort(texts[kept], descending=True, stable=True)[:most]].sort().values
    frequent: Tensor = distinct[kept]
    return frequent


def _scale(texts: np.ndarray) -> np.ndarray:
    """s_f, (F,), of the numbers of texts of each class that hold each n-gram, (F, C)."""
    n_features = len(texts)
    others = texts.sum(axis=1, keepdims=True) - texts
    for_class = np.log(texts + 1) - np.log(texts.sum(axis=0) + n_features)
    against = np.log(others + 1) - np.log(others.sum(axis=0) + n_features)
    scale: np.ndarray = np.abs(for_class - against).max(axis=1)
    return scale
