"""The encoded splits as Lightning takes them: whole batches by token budget, training shuffled anew each epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from headway.data.batching import TextBatches, TokenBudgetSampler
from headway.data.tokenization.encoded import EncodedTexts

TOKENS_AT_ONCE = 32_768

Batches = DataLoader[tuple[Tensor, Tensor]]


class TextDataModule(pl.LightningDataModule):
    """Training and validation batches.

    Args:
        train, validation: encoded splits.
        max_length: tokens that are taken of a text.
        tokens_per_batch: budget of a batch, padding included.
        seed: of the shuffling.
    """

    def __init__(
        self, train: EncodedTexts, validation: EncodedTexts, max_length: int, tokens_per_batch: int, seed: int
    ) -> None:
        super().__init__()
        self.train, self.validation = TextBatches(train, max_length), TextBatches(validation, max_length)
        self.tokens_per_batch = tokens_per_batch
        self.seed = seed

    def steps(self, epochs: int, world_size: int = 1) -> int:
        """Batches of each process in so many epochs."""
        sampler = self._train_sampler(0, world_size)
        total = 0
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            total += len(sampler)
        return total

    def train_dataloader(self) -> Batches:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self._train_sampler(rank, world_size)
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        # The loader draws a number whenever it is asked to iterate, which Lightning does once more or less after a resume:
        # with a generator of its own it leaves alone the one that dropout draws from.
        return DataLoader(self.train, sampler=sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> Batches:
        """All of the validation split in every process: its metrics are then the same as with one."""
        sampler = TokenBudgetSampler(self.validation.lengths, self.tokens_per_batch)
        return DataLoader(self.validation, sampler=sampler, batch_size=None, generator=torch.Generator())

    def _train_sampler(self, rank: int, world_size: int) -> TokenBudgetSampler:
        return TokenBudgetSampler(self.train.lengths, self.tokens_per_batch, self.seed, rank, world_size)


def in_batches(texts: EncodedTexts) -> Batches:
    """All of the texts, whole, in batches of similar length and always in the same order."""
    sampler = TokenBudgetSampler(texts.lengths, TOKENS_AT_ONCE)
    return DataLoader(TextBatches(texts), sampler=sampler, batch_size=None, generator=torch.Generator())


def subset(texts: EncodedTexts, indices: Sequence[int] | np.ndarray) -> EncodedTexts:
    """Some of the texts, copied into memory."""
    chosen = [texts[index] for index in indices]
    offsets = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in chosen], out=offsets[1:])
    tokens = np.concatenate(chosen) if chosen else np.zeros(0, np.int32)
    return EncodedTexts(tokens, offsets, texts.labels[np.asarray(indices, dtype=np.int64)], [texts.ids[i] for i in indices])
