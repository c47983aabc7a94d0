"""The models that the speed benchmark trains in alternation: ours, and PyTorch's encoder as in tutorials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from headway.data.batching import TextBatches
from headway.data.tokenization.encoded import EncodedTexts
from headway.model.classifier import AttentionClassifier
from headway.model.lightning import parameter_groups
from headway.params import Params

PEER_LENGTH, PEER_BATCH = 512, 32

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


class PaddedTransformer(nn.Module):
    """PyTorch's encoder with mean pooling, as in tutorials."""

    def __init__(self, params: Params, vocabulary_size: int, n_classes: int) -> None:
        super().__init__()
        sizes = params.model
        self.embedding = nn.Embedding(vocabulary_size, sizes.d_model, padding_idx=0)
        self.position = nn.Parameter(torch.zeros(PEER_LENGTH, sizes.d_model))
        layer = nn.TransformerEncoderLayer(
            sizes.d_model, sizes.n_heads, sizes.dim_feedforward, sizes.dropout, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, sizes.n_layers, enable_nested_tensor=False)
        self.output = nn.Linear(sizes.d_model, n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, n_classes) of tokens (B, 512)."""
        padding = tokens == 0
        encoded = self.encoder(self.embedding(tokens) + self.position, src_key_padding_mask=padding)
        real = (~padding)[:, :, None]
        return self.output((encoded * real).sum(1) / real.sum(1))


@dataclass(frozen=True)
class Trainee:
    """A model, the batches of an epoch, tokens (B, T) and labels (B,), and its optimisers.

    Attributes:
        clip: norm to which larger gradients are scaled down; None to leave them as they are.
    """

    model: nn.Module
    batches: Batches
    optimisers: list[torch.optim.Optimizer]
    bfloat16: bool = False
    clip: float | None = None

    def epoch(self) -> None:
        """Train on every batch."""
        for tokens, labels in self.batches():
            for optimiser in self.optimisers:
                optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                loss = F.cross_entropy(self.model(tokens), labels)
            loss.backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            for optimiser in self.optimisers:
                optimiser.step()

    def flops(self) -> int:
        """Floating-point operations of matrix products and attention in an epoch, padding included."""
        with (
            FlopCounterMode(display=False) as counter,
            sdpa_kernel(SDPBackend.MATH),
        ):  # fused kernels are not counted
            self.epoch()
        return int(counter.get_total_flops())


def peer(texts: EncodedTexts, params: Params, vocabulary_size: int, n_classes: int) -> Trainee:
    """PyTorch's encoder with the sizes in the params, on batches of 32 texts padded to 512 tokens."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        rows = TextBatches(texts, PEER_LENGTH)
        for start in range(0, len(texts), PEER_BATCH):
            tokens, labels = rows[list(range(start, min(start + PEER_BATCH, len(texts))))]
            yield F.pad(tokens, (0, PEER_LENGTH - tokens.shape[1])), labels

    model = PaddedTransformer(params, vocabulary_size, n_classes).train()
    return Trainee(model, batches, [torch.optim.Adam(model.parameters(), fused=True)])


def ours(batches: Batches, params: Params, vocabulary_size: int, n_classes: int, bfloat16: bool = False) -> Trainee:
    """The classifier's attention part with the sizes in the params."""
    model = AttentionClassifier(params.model, vocabulary_size, n_classes).train()
    dense, sparse = parameter_groups(model)
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, fused=True)]
    if sparse:
        optimisers.append(torch.optim.SparseAdam(sparse))
    return Trainee(model, batches, optimisers, bfloat16)
