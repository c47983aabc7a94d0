"""The progress of a training: a bar in a terminal, or lines in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0


def training_progress(title: str) -> Callback:
    """The progress of one training: a bar in a terminal, else lines that begin with the title."""
    return BarProgress(title) if sys.stdout.isatty() else LineProgress(title)


class StepProgress(Callback):
    """Describes the present step of a training whose module has a schedule. Subclasses show the description."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.started = 0.0
        self.first = self.tokens = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.started = time.monotonic()
        self.first = trainer.current_epoch * pl_module.schedule.evaluation_steps  # of a resumed training
        self.tokens = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.tokens += batch[0].numel()
        if trainer.is_global_zero:
            schedule = pl_module.schedule
            step = trainer.current_epoch * schedule.evaluation_steps + batch_idx + 1
            self.stepped(step, schedule, outputs)

    def stepped(self, step: int, schedule: Any, outputs: Any) -> None:
        """Called after each step, counted from 1."""

    def description(self, step: int, schedule: Any, outputs: Any) -> str:
        """Step, passes over the texts, loss, speed, and the time left if all steps are done."""
        elapsed = time.monotonic() - self.started
        left = elapsed * (schedule.steps - step) / (step - self.first)
        return (
            f"step {step:,}/{schedule.steps:,} · epoch {schedule.epochs_at(step):.1f} · loss {float(outputs['loss']):.3f} · "
            f"{self.tokens / elapsed / 1000:.0f}k tokens/s · {left:.0f} s left"
        )


class LineProgress(StepProgress):
    """Prints a line every ten seconds and before each evaluation."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self.printed = self.started

    def stepped(self, step: int, schedule: Any, outputs: Any) -> None:
        now = time.monotonic()
        evaluated = step % schedule.evaluation_steps == 0 or step == schedule.steps
        if now - self.printed < SECONDS_BETWEEN_LINES and not evaluated:
            return
        self.printed = now
        print(f"{self.title} · {self.description(step, schedule, outputs)}", flush=True)  # noqa: T201


class BarProgress(StepProgress):
    """One bar over all steps, which a terminal redraws."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        super().__init__(title)
        self.console = console
        self.bar: Progress | None = None  # made when the training starts, in its process

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero:
            columns = (
                TextColumn("{task.fields[title]}"),
                BarColumn(20),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
            )
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("", total=pl_module.schedule.steps, title=self.title)
            self.bar.start()

    def stepped(self, step: int, schedule: Any, outputs: Any) -> None:
        if self.bar:
            self.bar.update(self.task, completed=step, description=self.description(step, schedule, outputs))

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.bar:
            self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
