"""The progress of a training, as lines in a log and as a bar in a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from headway.model.schedule import Schedule
from headway.reporting import training
from headway.reporting.training import BarProgress, LineProgress, StepProgress

SCHEDULE = Schedule(1024, steps=1250, epochs=2.5, evaluation_steps=500, warmup_ratio=0.1, patience=5)


def train(progress: StepProgress, first_interval: int = 0) -> None:
    """Call a progress as a training on its first process does, from an interval on."""
    module = SimpleNamespace(schedule=SCHEDULE)
    trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=first_interval)
    progress.on_train_start(trainer, module)
    for interval in range(first_interval, SCHEDULE.evaluations):
        trainer.current_epoch = interval
        for index in range(SCHEDULE.step_of(interval + 1) - 500 * interval):
            progress.on_train_batch_end(trainer, module, {"loss": torch.tensor(0.5)}, (torch.ones(10, 100), None), index)
    progress.on_train_end(trainer, module)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten milliseconds between two looks at the clock."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(ticks) / 100)


def test_a_log_has_a_line_before_each_evaluation_and_every_ten_seconds(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train(LineProgress("train"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" · ")[:3] for line in lines] == [
        ["train", "step 500/1,250", "epoch 1.0"],
        ["train", "step 1,000/1,250", "epoch 2.0"],
        ["train", "step 1,250/1,250", "epoch 2.5"],
    ]
    assert lines[-1].endswith(" · 0 s left")
    assert "loss 0.500" in lines[0]
    monkeypatch.setattr(training, "SECONDS_BETWEEN_LINES", 1.0)
    train(LineProgress("train"))
    assert len(capsys.readouterr().out.splitlines()) > 10


def test_a_resumed_training_estimates_from_its_own_steps(capsys: Any) -> None:
    train(LineProgress("train"), first_interval=1)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("train · step 1,000/1,250 · ")
    # 500 steps took five seconds, so 250 more take half of that.
    assert first.endswith((" · 2 s left", " · 3 s left"))


def test_a_terminal_has_one_bar_over_all_steps() -> None:
    out = io.StringIO()
    train(BarProgress("train", Console(file=out, force_terminal=True, width=150)))
    assert "step 1,250/1,250 · epoch 2.5 · loss 0.500" in out.getvalue()
    assert "━" in out.getvalue()
