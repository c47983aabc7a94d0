"""Data loaders for training and scoring: batches by token budget, with training texts reshuffled every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from headway.data.batching import TextBatches, TokenBudgetSampler
from headway.data.tokenization.encoded import EncodedTexts

#: Token budget of a batch when no gradients are computed.
TOKENS_PER_BATCH = 32_768

Batches = DataLoader[tuple[Tensor, Tensor]]


class TextDataModule(pl.LightningDataModule):
    """Training and validation batches for Lightning, of texts up to ``max_length`` tokens; ``seed`` is of the shuffling."""

    def __init__(
        self, train: EncodedTexts, validation: EncodedTexts, max_length: int, tokens_per_batch: int, seed: int
    ) -> None:
        super().__init__()
        self.train, self.validation = TextBatches(train, max_length), TextBatches(validation, max_length)
        self.tokens_per_batch = tokens_per_batch
        self.seed = seed

    def steps(self, epochs: int, world_size: int = 1) -> int:
        """Number of optimizer steps of each process in the first ``epochs`` epochs."""
        sampler, total = self._train_sampler(0, world_size), 0
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            total += len(sampler)
        return total

    def train_dataloader(self) -> Batches:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self._train_sampler(rank, world_size)
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        # A loader draws a random number whenever it is iterated, which happens a different number of times after a resume.
        # With its own generator, that does not change the random numbers of dropout.
        return DataLoader(self.train, sampler=sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> Batches:
        """The whole validation split in every process, so that metrics do not depend on the number of processes."""
        sampler = TokenBudgetSampler(self.validation.lengths, self.tokens_per_batch)
        return DataLoader(self.validation, sampler=sampler, batch_size=None, generator=torch.Generator())

    def _train_sampler(self, rank: int, world_size: int) -> TokenBudgetSampler:
        return TokenBudgetSampler(self.train.lengths, self.tokens_per_batch, self.seed, rank, world_size)


def in_batches(texts: EncodedTexts) -> Batches:
    """All texts, without truncation, in batches of similar length and in a fixed order."""
    sampler = TokenBudgetSampler(texts.lengths, TOKENS_PER_BATCH)
    return DataLoader(TextBatches(texts), sampler=sampler, batch_size=None, generator=torch.Generator())


def subset(texts: EncodedTexts, indices: Sequence[int] | np.ndarray) -> EncodedTexts:
    """The texts at these indices, in this order, copied into memory."""
    chosen = [texts[index] for index in indices]
    offsets = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in chosen], out=offsets[1:])
    tokens = np.concatenate(chosen) if chosen else np.zeros(0, np.int32)
    return EncodedTexts(tokens, offsets, texts.labels[np.asarray(indices, dtype=np.int64)], [texts.ids[i] for i in indices])
