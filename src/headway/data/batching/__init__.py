"""Batches of texts of similar length, filled up to a number of tokens instead of a number of texts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from headway.data.tokenization.encoded import EncodedTexts
from headway.data.tokenization.tokenizer import truncate

CHUNK_BATCHES = 50


class TokenBudgetSampler(Sampler[list[int]]):
    """Yields lists of indices whose padded size, texts times the longest text, stays within a token budget.

    Shuffled epochs permute the texts, cut them into chunks of about fifty batches, sort each chunk by length, cut it into
    batches and permute the batches: hardly any padding, yet no two epochs batch alike. Every index comes exactly once an
    epoch. The order is a function of seed and epoch alone, which makes an epoch-end resume exact.

    Processes that train together take every n-th batch each. They have to take equally many, so up to n - 1 batches of an
    epoch come twice.

    Args:
        lengths: tokens of each text, (texts,).
        tokens_per_batch: the budget; a longer text is a batch of its own.
        seed: of the shuffling; None keeps one fixed order, by length.
        rank, world_size: which of how many processes this is.
    """

    def __init__(
        self, lengths: np.ndarray, tokens_per_batch: int, seed: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.tokens_per_batch = tokens_per_batch
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch; Lightning calls it before each."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._own(self._batches(self.epoch)))

    def __len__(self) -> int:
        """Batches of this process in the present epoch."""
        return len(self._own(self._batches(self.epoch)))

    def _own(self, batches: list[list[int]]) -> list[list[int]]:
        if self.world_size == 1:
            return batches
        each = -(-len(batches) // self.world_size)
        return list(islice(cycle(batches), each * self.world_size))[self.rank :: self.world_size]

    def _batches(self, epoch: int) -> list[list[int]]:
        if not len(self.lengths):
            return []
        if self.seed is None:
            return self._cut(np.argsort(self.lengths, kind="stable"))
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(len(self.lengths))
        texts_per_batch = max(1.0, self.tokens_per_batch / max(1.0, float(self.lengths.mean())))
        n_chunks = max(1, round(len(order) / (CHUNK_BATCHES * texts_per_batch)))
        batches = []
        for chunk in np.array_split(order, n_chunks):
            batches += self._cut(chunk[np.argsort(self.lengths[chunk], kind="stable")])
        return [batches[index] for index in random.permutation(len(batches))]

    def _cut(self, by_length: np.ndarray) -> list[list[int]]:
        """Cut indices of ascending length into batches; the last text of a batch is its longest."""
        batches: list[list[int]] = []
        for index in by_length.tolist():
            if not batches or (len(batches[-1]) + 1) * self.lengths[index] > self.tokens_per_batch:
                batches.append([])
            batches[-1].append(index)
        return batches


class TextBatches(Dataset[tuple[Tensor, Tensor]]):
    """Encoded texts, taken a whole batch at a time: indexing with a list gives padded tokens (B, T) and labels (B,).

    Args:
        texts: an encoded split.
        max_length: tokens of a text, of a longer one the first and the last half of that; None takes all.
    """

    def __init__(self, texts: EncodedTexts, max_length: int | None = None) -> None:
        self.texts = texts
        self.max_length = max_length

    @property
    def lengths(self) -> np.ndarray:
        """Tokens that are taken of each text, int64, (texts,)."""
        return self.texts.lengths if self.max_length is None else np.minimum(self.texts.lengths, self.max_length)

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        chosen = [self.texts[index] for index in indices]
        tokens = pad(chosen if self.max_length is None else [truncate(text, self.max_length) for text in chosen])
        return tokens, torch.from_numpy(self.texts.labels[indices].astype(np.int64))

    def __len__(self) -> int:
        return len(self.texts)


def pad(texts: list[np.ndarray]) -> Tensor:
    """Texts as one int64 tensor (texts, longest), filled up with 0."""
    padded = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    return torch.from_numpy(padded)
