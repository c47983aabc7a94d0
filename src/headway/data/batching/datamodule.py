"""Data loaders for training and scoring: batches by token budget, with training texts reshuffled every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from headway.data.batching import IntervalSampler, TextBatches, TokenBudgetSampler
from headway.data.tokenization.encoded import EncodedTexts

#: Token budget of a batch when no gradients are computed.
TOKENS_PER_BATCH = 32_768

Batches = DataLoader[tuple[Tensor, Tensor]]


class Schedule(Protocol):
    """The part of a training's schedule that decides its batches; see :class:`headway.model.schedule.Schedule`."""

    @property
    def tokens_per_batch(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def evaluation_steps(self) -> int: ...


class TextDataModule(pl.LightningDataModule):
    """Training and validation batches for Lightning, of texts up to ``max_length`` tokens; ``seed`` is of the shuffling.

    One of Lightning's epochs is the interval from one evaluation to the next. :meth:`follow` sets its length.
    """

    def __init__(self, train: EncodedTexts, validation: EncodedTexts, max_length: int, seed: int) -> None:
        super().__init__()
        self.train, self.validation = TextBatches(train, max_length), TextBatches(validation, max_length)
        self.seed = seed
        self.schedule: Schedule | None = None
        self._sampler: IntervalSampler | None = None  # kept, because it knows the batches of the present epoch

    @property
    def train_lengths(self) -> np.ndarray:
        """Tokens of each training text after truncation, int64, shape (texts,)."""
        return self.train.lengths

    @property
    def validation_lengths(self) -> np.ndarray:
        """Tokens of each validation text after truncation, int64, shape (texts,)."""
        return self.validation.lengths

    @property
    def n_classes(self) -> int:
        """Number of classes that training texts have."""
        return len(np.unique(self.train.texts.labels))

    def steps(self, tokens_per_batch: int, epochs: int, world_size: int = 1) -> int:
        """Number of optimiser steps of each process in the first ``epochs`` epochs."""
        sampler, total = self._epochs(tokens_per_batch, 0, world_size), 0
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            total += len(sampler)
        return total

    def follow(self, schedule: Schedule) -> None:
        """Batch the training texts as a schedule says, until another one is set."""
        self.schedule, self._sampler = schedule, None

    def train_dataloader(self) -> Batches:
        """The batches of this process in the present interval."""
        assert self.schedule is not None, "follow() sets the schedule"
        if self._sampler is None:
            rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
            epochs = self._epochs(self.schedule.tokens_per_batch, rank, world_size)
            self._sampler = IntervalSampler(epochs, self.schedule.evaluation_steps, self.schedule.steps)
        self._sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        # A loader draws a random number whenever it is iterated, which happens a different number of times after a resume.
        # With its own generator, that does not change the random numbers of dropout.
        return DataLoader(self.train, sampler=self._sampler, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> Batches:
        """The whole validation split in every process, so that metrics do not depend on the number of processes."""
        sampler = TokenBudgetSampler(self.validation_lengths, TOKENS_PER_BATCH)
        return DataLoader(self.validation, sampler=sampler, batch_size=None, generator=torch.Generator())

    def _epochs(self, tokens_per_batch: int, rank: int, world_size: int) -> TokenBudgetSampler:
        return TokenBudgetSampler(self.train_lengths, tokens_per_batch, self.seed, rank, world_size)


def in_batches(texts: EncodedTexts) -> Batches:
    """All texts, without truncation, in batches of similar length and in a fixed order."""
    sampler = TokenBudgetSampler(texts.lengths, TOKENS_PER_BATCH)
    return DataLoader(TextBatches(texts), sampler=sampler, batch_size=None, generator=torch.Generator())


def in_text_order(values: Tensor, batches: Batches) -> Tensor:
    """Reorder values, (N, …), from the order of a loader's batches to the order of its texts."""
    order = np.concatenate([np.asarray(indices) for indices in batches.sampler])
    ordered = torch.empty_like(values)
    ordered[order] = values
    return ordered


@dataclass(frozen=True)
class WholeTexts:
    """Training and validation texts in batches and without truncation; see :class:`headway.model.fitting.NgramData`."""

    train: EncodedTexts
    validation: EncodedTexts

    @property
    def train_rows(self) -> int:
        """Number of training texts."""
        return len(self.train)

    @property
    def train_tokens(self) -> int:
        """Number of tokens in the training texts."""
        return len(self.train.tokens)

    @property
    def vocabulary(self) -> Sequence[bytes] | None:
        """The bytes of each sub-word; None if tokens are words."""
        return self.train.vocabulary

    def train_batches(self, every: int = 1) -> Batches:
        """Batches of every k-th training text."""
        return in_batches(self.train if every == 1 else subset(self.train, np.arange(0, len(self.train), every)))

    def validation_batches(self) -> Batches:
        """Batches of all validation texts."""
        return in_batches(self.validation)


def subset(texts: EncodedTexts, indices: Sequence[int] | np.ndarray) -> EncodedTexts:
    """The texts at these indices, in this order, copied into memory, with their ids if the texts have any."""
    chosen = [texts[index] for index in indices]
    offsets = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in chosen], out=offsets[1:])
    tokens = np.concatenate(chosen) if chosen else np.zeros(0, np.int32)
    ids = [texts.ids[index] for index in indices] if texts.ids else ()
    return EncodedTexts(tokens, offsets, texts.labels[np.asarray(indices, dtype=np.int64)], ids, texts.vocabulary)
