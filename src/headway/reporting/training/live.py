"""The progress of a training: a bar in a terminal, or lines in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar

SECONDS_BETWEEN_LINES = 10.0


def training_progress(title: str) -> Callback:
    """The progress of one training: a bar in a terminal, else lines that begin with the title."""
    return RichProgressBar(leave=True) if sys.stdout.isatty() else LineProgress(title)


class LineProgress(Callback):
    """Prints a line every ten seconds and at the end of each epoch."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = self.printed = self.tokens = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = self.printed = time.monotonic()
        self.tokens = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.tokens += batch[0].numel()
        now = time.monotonic()
        total = trainer.num_training_batches
        if not trainer.is_global_zero or (now - self.printed < SECONDS_BETWEEN_LINES and batch_idx + 1 < total):
            return
        self.printed = now
        share = (batch_idx + 1) / total
        bar = "━" * round(20 * share) + "╌" * (20 - round(20 * share))
        elapsed = now - self.started
        print(  # noqa: T201
            f"{self.title} · epoch {trainer.current_epoch + 1}/{trainer.max_epochs} {bar} {share:4.0%} · "
            f"loss {float(outputs['loss']):.3f} · {self.tokens / elapsed / 1000:.0f}k tokens/s · "
            f"{elapsed * (1 - share) / share:.0f} s left",
            flush=True,
        )
