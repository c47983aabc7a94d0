"""What an encoder costs on this machine: measured, with random tokens. Only this module of the package imports PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from headway.encoders.folder import EncoderFiles
from headway.encoders.limits import longest_text

#: Texts per batch, tokens per text and texts that a cost is for.
BATCH, TOKENS, TEXTS = 16, 128, 1_000
#: Batches at least, and seconds at least, of each measurement.
BATCHES, SECONDS = 3, 2.0


@dataclass(frozen=True)
class Cost:
    """Seconds for 1,000 texts of 128 tokens, or of as many as the encoder takes.

    Attributes:
        encode: a forward pass, which features of a frozen encoder need once.
        train: a forward and a backward pass through all layers, which fine-tuning needs in each epoch.
    """

    encode: float
    train: float


def measure(files: EncoderFiles, threads: int) -> Cost:
    """Measure an encoder on the CPU in full precision.

    Args:
        threads: number of threads of PyTorch.

    Raises:
        HeadwayError: as :func:`headway.model.pretrained.load` raises it.
    """
    import torch

    from headway.model import pretrained

    torch.set_num_threads(threads)
    model = pretrained.load(files.folder)
    length = min(TOKENS, longest_text(files.config) or TOKENS)
    tokens = torch.randint(
        int(files.config.get("vocab_size", 2)), (BATCH, length), generator=torch.Generator().manual_seed(0)
    )
    mask = torch.ones_like(tokens)

    def encode() -> None:
        with torch.inference_mode():
            model(input_ids=tokens, attention_mask=mask)

    def train() -> None:
        model(input_ids=tokens, attention_mask=mask).last_hidden_state.mean().backward()
        model.zero_grad()

    model.eval()
    frozen = _seconds(encode)
    model.train()
    return Cost(frozen, _seconds(train))


def _seconds(step: Callable[[], None]) -> float:
    """Seconds for ``TEXTS`` texts, from the median over batches; the first batch, which allocates memory, does not count."""
    step()
    taken: list[float] = []
    while len(taken) < BATCHES or sum(taken) < SECONDS:
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * TEXTS / BATCH
