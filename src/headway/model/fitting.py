"""The fit of the linear part, as the stages train and tune do it: on a sample of a large split, with lines about its progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from headway.model.ngrams import Batch, NgramClassifier
from headway.model.training import pin
from headway.params import Params

#: The linear part is fitted on every k-th text, with the smallest k that leaves at most this number of tokens, and at most this
#: number of texts times classes (times 1 for two classes). The solver then takes at most about 2 GB.
MAX_NGRAM_TOKENS, MAX_NGRAM_MARGINS = 50_000_000, 16_000_000


class NgramData(Protocol):
    """Whole texts, in batches that can be iterated repeatedly in the same order."""

    @property
    def train_rows(self) -> int:
        """Number of training texts."""

    @property
    def train_tokens(self) -> int:
        """Number of tokens in the training texts."""

    @property
    def vocabulary(self) -> Sequence[bytes] | None:
        """The bytes of each sub-word, with the space before it; None if tokens are words."""

    def train_batches(self, every: int = 1) -> Iterable[Batch]:
        """Batches of every k-th training text: padded tokens, int64, (B, T), and labels, (B,)."""

    def validation_batches(self) -> Iterable[Batch]:
        """Batches of all validation texts."""


def fit_ngrams(data: NgramData, n_classes: int, knobs: Params, stage: str = "train") -> NgramClassifier | None:
    """Fit the linear part; None if ``ngrams.max_order`` is 0.

    Args:
        stage: name at the beginning of each printed line.
    """
    if not knobs.ngrams.max_order:
        return None
    pin(knobs.training.threads)
    margins = data.train_rows * (1 if n_classes == 2 else n_classes)
    every = max(1, -(-data.train_tokens // MAX_NGRAM_TOKENS), -(-margins // MAX_NGRAM_MARGINS))
    some = f"{-(-data.train_rows // every):,} of " if every > 1 else ""
    print(f"{stage} · n-grams of {some}{data.train_rows:,} texts", flush=True)  # noqa: T201 - progress, for a person
    balanced = knobs.training.class_weights == "balanced"
    fitted = NgramClassifier.fit(
        data.train_batches(every), data.validation_batches(), n_classes, knobs.ngrams, balanced, data.vocabulary
    )
    if fitted.scaling is not None:
        chosen = f"scaled by {fitted.scaling.replace('_', ' ')}, inverse regularisation {fitted.inverse_regularisation:g}"
        print(f"{stage} · {len(fitted.keys):,} n-grams, {chosen}", flush=True)  # noqa: T201 - progress, for a person
    return fitted
