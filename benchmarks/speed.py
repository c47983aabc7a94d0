"""Training speed of the project's model and batches against a padded ``nn.TransformerEncoder``, in turn, on the same rows.

Run it with ``make bench`` after ``make run``. The peer is what a tutorial has: every text padded to 512 tokens, batches of
32, element-wise dropout, the same width, depth and heads as the model in params.yaml. Both train on the same shuffled IMDB
rows with AdamW on the same threads; rounds alternate, and medians and the ratio round by round are printed.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from headway import params as parameters
from headway.data.batching import TextBatches, TokenBudgetSampler
from headway.data.datamodule import subset
from headway.data.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.lightning import parameter_groups
from headway.model.training import pin
from headway.params import Params

ROUNDS, ROWS, PEER_LENGTH, PEER_BATCH = 5, 640, 512, 32


class PaddedTransformer(nn.Module):
    """PyTorch's own encoder with mean pooling, as tutorials build it."""

    def __init__(self, params: Params, vocabulary_size: int, n_classes: int) -> None:
        super().__init__()
        sizes = params.model
        self.embedding = nn.Embedding(vocabulary_size, sizes.d_model, padding_idx=0)
        self.position = nn.Parameter(torch.zeros(PEER_LENGTH, sizes.d_model))
        layer = nn.TransformerEncoderLayer(sizes.d_model, sizes.n_heads, sizes.d_feedforward, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, sizes.n_layers, enable_nested_tensor=False)
        self.output = nn.Linear(sizes.d_model, n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, n_classes) of tokens (B, 512)."""
        padding = tokens == 0
        encoded = self.encoder(self.embedding(tokens) + self.position, src_key_padding_mask=padding)
        real = (~padding)[:, :, None]
        return self.output((encoded * real).sum(1) / real.sum(1))


def train_ours(
    texts: EncodedTexts, model: AttentionClassifier, optimisers: list[torch.optim.Optimizer], params: Params
) -> None:
    """One pass in token-budget batches."""
    batches = TextBatches(texts)
    for indices in TokenBudgetSampler(texts.lengths, params.training.tokens_per_batch, params.seed):
        _step(model, *batches[indices], optimisers)


def train_peer(texts: EncodedTexts, model: PaddedTransformer, optimisers: list[torch.optim.Optimizer]) -> None:
    """One pass in batches of 32 texts padded to 512 tokens."""
    batches = TextBatches(texts)
    for start in range(0, len(texts), PEER_BATCH):
        tokens, labels = batches[list(range(start, min(start + PEER_BATCH, len(texts))))]
        _step(model, F.pad(tokens, (0, PEER_LENGTH - tokens.shape[1])), labels, optimisers)


def _step(model: nn.Module, tokens: Tensor, labels: Tensor, optimisers: list[torch.optim.Optimizer]) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad()
    F.cross_entropy(model(tokens), labels).backward()
    for optimiser in optimisers:
        optimiser.step()


def main() -> None:
    """Measure and print.

    Raises:
        HeadwayError: no run has left rows to train on.
    """
    layout = Layout.find()
    params = parameters.load(layout.params)
    if not (layout.encoded / "train.arrow").exists():
        raise HeadwayError("there are no encoded rows to measure on; `make run` makes them, then try again")
    pin(params.training.threads)
    everything = EncodedTexts.open(layout.encoded / "train.arrow")
    rows = np.random.default_rng(params.seed).permutation(len(everything))[:ROWS]
    texts = subset(everything, rows)
    vocabulary_size, n_classes = int(everything.tokens.max()) + 1, int(everything.labels.max()) + 1
    ours = AttentionClassifier(params.model, vocabulary_size, n_classes, params.training.word_dropout).train()
    peer = PaddedTransformer(params, vocabulary_size, n_classes).train()
    decayed, plain, sparse = parameter_groups(ours)
    our_optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW([*decayed, *plain], fused=True)]
    if sparse:
        our_optimisers.append(torch.optim.SparseAdam(sparse))
    peer_optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(peer.parameters(), fused=True)]
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for round_number in range(ROUNDS + 1):
        for name in seconds:
            started = time.perf_counter()
            if name == "ours":
                train_ours(texts, ours, our_optimisers, params)
            else:
                train_peer(texts, peer, peer_optimisers)
            if round_number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    ratios = [peer_time / our_time for our_time, peer_time in zip(seconds["ours"], seconds["peer"], strict=True)]
    table = Table("training step", "documents/s, median", "lowest", "highest", title_justify="left")
    table.title = f"{ROWS} training rows, {ROUNDS} alternating rounds, {params.training.threads} threads"
    names = {"ours": "Headway", "peer": f"nn.TransformerEncoder, padded to {PEER_LENGTH}"}
    for name, times in seconds.items():
        speeds = [ROWS / value for value in times]
        table.add_row(names[name], *(f"{value:.0f}" for value in (statistics.median(speeds), min(speeds), max(speeds))))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Headway is {statistics.median(ratios):.1f} times as fast (rounds: {min(ratios):.1f} to {max(ratios):.1f}), "
        "its hashed word-pair embeddings included, which the other has not."
    )


if __name__ == "__main__":
    try:
        main()
    except HeadwayError as error:
        sys.stderr.write(f"bench: {error}\n")
        sys.exit(2)
