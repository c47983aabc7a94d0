"""Variants of the attention part that Headway does not offer; the ablation measures the effect of each.

Each is a context manager, within which the classifier is built and trained in that variant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model import classifier, encoder, lightning
from headway.model.classifier import AttentionClassifier, AttentionPooling
from headway.model.encoder import Block, Encoder
from headway.model.lightning import ClassifierModule
from headway.params import ModelParams
from headway.stages import train

DECAY, EVERY = 0.95, 10  # of the moving average, and steps between its updates
REPLACED = 0.15  # share of tokens in pre-training
DROPPED = 0.2  # share of words
SMOOTHING = 0.1
WEIGHT_DECAY = 0.05


class NoPositions(Encoder):
    """No rotation of queries and keys: attention within a window ignores positions."""

    def _cut(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        windows, visible, rotation = super()._cut(x, attention_mask)
        return windows, visible, torch.ones_like(rotation)


class LearnedPositions(NoPositions):
    """A learned embedding of each position in a window, added to the input (Devlin et al. 2019, "BERT")."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__(params)
        self.positions = nn.Embedding(params.window_size or params.max_length, params.d_model)
        nn.init.zeros_(self.positions.weight)

    def _cut(self, x: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        windows, visible, rotation = super()._cut(x, attention_mask)
        return windows + self.positions.weight[: windows.shape[1]], visible, rotation


class SinusoidalPositions(LearnedPositions):
    """Fixed sinusoidal embeddings of positions (Vaswani et al. 2017, "Attention Is All You Need")."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__(params)
        length, d = self.positions.weight.shape
        angles = torch.outer(torch.arange(length), torch.exp(torch.arange(0, d, 2) * (-math.log(10_000) / d)))
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.positions.weight = nn.Parameter(0.1 * waves, requires_grad=False)  # the scale of the token embeddings


class SwiGLU(Block):
    """A gated feed-forward layer with the same number of weights (Shazeer 2020, "GLU Variants Improve Transformer")."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__(params)
        width = round(params.dim_feedforward * 2 / 3)
        self.expand = nn.Linear(params.d_model, 2 * width)
        self.contract = nn.Linear(width, params.d_model)

    def _feedforward(self, x: Tensor) -> Tensor:
        gate, value = self.expand(self.feedforward_norm(x)).chunk(2, dim=-1)
        return x + self.dropout(self.contract(F.silu(gate) * value))


class PlainPooling(AttentionPooling):
    """One vector per text without a learned query, (B, d_model)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        self.d_out = d_model
        self.score.requires_grad_(False)


class MeanPooling(PlainPooling):
    """The mean of all positions."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        real = attention_mask[:, :, None].to(x.dtype)
        return (x * real).sum(dim=1) / real.sum(dim=1)


class MaxPooling(PlainPooling):
    """The largest value of each feature."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return x.masked_fill(~attention_mask[:, :, None], -torch.inf).amax(dim=1)


class FirstToken(PlainPooling):
    """The first position, which is the text's first word, since there is no classification token."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        return x[:, 0]


class WordDropout(AttentionClassifier):
    """Training drops a fifth of the words (Iyyer et al. 2015, "Deep Unordered Composition Rivals Syntactic Methods for Text
    Classification").
    """

    def embed(self, tokens: Tensor) -> Tensor:
        x = super().embed(tokens)
        if not self.training:
            return x
        keep = torch.rand(tokens.shape, device=x.device) >= DROPPED
        return x * (keep[:, :, None].to(x.dtype) / (1 - DROPPED))


class Smoothed(ClassifierModule):
    """Label smoothing of 0.1 (Szegedy et al. 2016, "Rethinking the Inception Architecture")."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, self.class_weights, label_smoothing=SMOOTHING)


class Decayed(ClassifierModule):
    """Decoupled weight decay of matrices (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization")."""

    def on_train_batch_end(self, *batch: Any) -> None:
        optimisers = self.optimizers()
        rate = (optimisers[0] if isinstance(optimisers, list) else optimisers).param_groups[0]["lr"]
        with torch.no_grad():
            for name, weight in self.classifier.named_parameters():
                if weight.ndim == 2 and "embedding" not in name:
                    weight.mul_(1 - WEIGHT_DECAY * rate)


class Averaged(ClassifierModule):
    """Validates and keeps an exponential moving average of the weights (Kingma & Ba 2015, "Adam", section 7.2).

    The average is bias-corrected: the share of the new weights falls from 1 to 1 - DECAY.
    """

    def on_fit_start(self) -> None:
        self.average = {name: weight.detach().clone() for name, weight in self.classifier.named_parameters()}
        self.trained: dict[str, Tensor] = {}
        self.taken = 0

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._set(self.trained)

    def on_train_batch_end(self, *batch: Any) -> None:
        if batch[-1] % EVERY == 0:
            self.taken += 1
            for name, weight in self.classifier.named_parameters():
                self.average[name].lerp_(weight.detach(), (1 - DECAY) / (1 - DECAY**self.taken))

    def on_validation_start(self) -> None:
        self.trained = {name: weight.detach().clone() for name, weight in self.classifier.named_parameters()}
        self._set(self.average)  # until the next epoch starts: it is what a checkpoint holds

    def _set(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.classifier.named_parameters():
                if name in weights:
                    weight.copy_(weights[name])


class Pretrained(ClassifierModule):
    """Pre-trained for one epoch to detect tokens that were replaced by others of the same batch.

    A simple form of Clark et al. 2020, "ELECTRA": replacements are drawn by frequency, not by a generator.
    """

    def on_fit_start(self) -> None:
        model = self.classifier
        finds = nn.Linear(model.params.d_model, 1)
        weights = [w for name, w in model.named_parameters() if not name.startswith(("bigram", "output", "pooling"))]
        optimiser = torch.optim.Adam([*weights, *finds.parameters()], lr=self.params.learning_rate / 3, fused=True)
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        for tokens, _ in datamodule.train_dataloader():
            real = tokens != 0
            drawn = tokens[real][torch.randint(int(real.sum()), tokens.shape)]
            chosen = real & (torch.rand(tokens.shape) < REPLACED)
            mixed = torch.where(chosen, drawn, tokens)
            found = finds(model.encoder(model.embedding(mixed), real))[:, :, 0]
            loss = F.binary_cross_entropy_with_logits(found[real], (mixed != tokens)[real].float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        model.zero_grad()


Idea = Callable[[], AbstractContextManager[Any]]

IDEAS: dict[str, Idea] = {
    "idea: no positions": partial(patch.object, classifier, "Encoder", NoPositions),
    "idea: learned positions": partial(patch.object, classifier, "Encoder", LearnedPositions),
    "idea: sinusoidal positions": partial(patch.object, classifier, "Encoder", SinusoidalPositions),
    "idea: SwiGLU": partial(patch.object, encoder, "Block", SwiGLU),
    "idea: mean pooling alone": partial(patch.object, classifier, "AttentionPooling", MeanPooling),
    "idea: maximum pooling": partial(patch.object, classifier, "AttentionPooling", MaxPooling),
    "idea: first token, no windows": partial(patch.object, classifier, "AttentionPooling", FirstToken),
    "idea: word dropout": partial(patch.object, lightning, "AttentionClassifier", WordDropout),
    "idea: label smoothing": partial(patch.object, train, "ClassifierModule", Smoothed),
    "idea: weight decay": partial(patch.object, train, "ClassifierModule", Decayed),
    "idea: averaged weights": partial(patch.object, train, "ClassifierModule", Averaged),
    "idea: pre-training on replaced tokens": partial(patch.object, train, "ClassifierModule", Pretrained),
}
