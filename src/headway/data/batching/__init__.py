"""Batches of texts of similar length, limited by their number of tokens instead of their number of texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from headway.data.tokenization.encoded import EncodedTexts
from headway.data.tokenization.tokenizer import truncate

#: Batches per chunk of a shuffled epoch. Larger chunks have less padding, smaller ones more variety between epochs.
CHUNK_BATCHES = 50


class TokenBudgetSampler(Sampler[list[int]]):
    """Yields lists of indices whose padded size, number of texts times length of the longest, is within a token budget.

    A shuffled epoch permutes the texts, cuts them into chunks of about ``CHUNK_BATCHES`` batches, sorts each chunk by length,
    cuts it into batches, and permutes all batches. So there is little padding, but epochs batch texts differently. Every index
    occurs once per epoch. The order depends only on seed and epoch, so that a resumed training is exact.

    With several processes, each takes every ``world_size``-th batch. All need the same number of batches, so up to
    ``world_size - 1`` batches of an epoch are used twice.

    A text that exceeds the budget is a batch of its own. Without a seed, every epoch has the same order, by length.
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
        """Select the order of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._own(self._batches(self.epoch)))

    def __len__(self) -> int:
        """Number of batches of this process in the selected epoch."""
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
        """Cut indices, sorted by length, into batches. The last text of a batch is its longest."""
        batches: list[list[int]] = []
        for index in by_length.tolist():
            if not batches or (len(batches[-1]) + 1) * self.lengths[index] > self.tokens_per_batch:
                batches.append([])
            batches[-1].append(index)
        return batches


class IntervalSampler(Sampler[list[int]]):
    """Yields one interval of a training: batches k · interval to (k + 1) · interval of shuffled epochs one after the other.

    Lightning's epochs are these intervals, so that it validates, saves and resumes between any two of them, wherever the
    epochs of the texts begin and end.

    Args:
        epochs: gives the batches of each epoch of the texts.
        interval: number of batches in an interval.
        steps: number of batches in all intervals; the last interval may be shorter.
    """

    def __init__(self, epochs: TokenBudgetSampler, interval: int, steps: int) -> None:
        self.epochs = epochs
        self.interval = interval
        self.steps = steps
        self.number = 0
        self._ends: list[int] = []  # number of batches in the epochs up to this one, of each epoch seen so far
        self._last: tuple[int, list[list[int]]] = (-1, [])  # the epoch made last, because several intervals need it

    def set_epoch(self, number: int) -> None:
        """Select an interval, counted from 0. Lightning calls this before each of its epochs."""
        self.number = number

    def __len__(self) -> int:
        return max(0, min(self.interval, self.steps - self.number * self.interval))

    def __iter__(self) -> Iterator[list[int]]:
        start, left = self.number * self.interval, len(self)
        epoch = next((epoch for epoch, end in enumerate(self._ends) if end > start), len(self._ends))
        while left:
            begin = self._ends[epoch - 1] if epoch else 0
            batches = self._epoch(epoch)
            wanted = batches[max(0, start - begin) :][:left]
            yield from wanted
            left -= len(wanted)
            epoch += 1

    def _epoch(self, epoch: int) -> list[list[int]]:
        if self._last[0] != epoch:
            self.epochs.set_epoch(epoch)
            self._last = (epoch, list(self.epochs))
        batches = self._last[1]
        if epoch == len(self._ends):
            self._ends.append(len(batches) + (self._ends[-1] if epoch else 0))
        return batches


class TextBatches(Dataset[tuple[Tensor, Tensor]]):
    """A data set indexed by whole batches: a list of B indices gives padded tokens (B, T) and labels (B,), both int64.

    Texts of more than ``max_length`` tokens are truncated to their beginning and end.
    """

    def __init__(self, texts: EncodedTexts, max_length: int = sys.maxsize) -> None:
        self.texts = texts
        self.max_length = max_length

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text after truncation, int64, shape (texts,)."""
        return np.asarray(np.minimum(self.texts.lengths, self.max_length))

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        tokens = pad([truncate(self.texts[index], self.max_length) for index in indices])
        return tokens, torch.from_numpy(self.texts.labels[indices].astype(np.int64))

    def __len__(self) -> int:
        return len(self.texts)


def pad(texts: list[np.ndarray]) -> Tensor:
    """Pad texts with 0 to one int64 tensor, shape (texts, length of the longest)."""
    padded = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    return torch.from_numpy(padded)
