"""Progress of the search: a bar that a terminal redraws, and lines that also fit a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from rich import progress
from rich.console import Console

from headway.foreign_text import one_line
from headway.params import TuneParams
from headway.search.goals import objective
from headway.search.results import TrialResult, best, score_of
from headway.search.trial import Progress, Task

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback


class LiveProgress(Progress):
    """Shows the best score so far, the numbers of trials by state, and an estimate of the time left."""

    def __init__(self, params: TuneParams, console: Console | None = None) -> None:
        self.params = params
        self.goal = objective(params)
        self.console = console or Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)
        self.trials: list[TrialResult] = []
        self.bar: progress.Progress | None = None
        if self.console.is_terminal:
            columns = progress.BarColumn(20), progress.TextColumn("{task.description}"), progress.TimeElapsedColumn()
            self.bar = progress.Progress("search", *columns, console=self.console)
            self.task = self.bar.add_task("", total=params.trials)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def resumed(self, trials: Sequence[TrialResult]) -> None:
        """Begin with the trials that an earlier process finished."""
        self.trials = list(trials)
        if self.bar:
            self.bar.start()
        if trials:
            self.message(f"the search continues: {self.status()}")
        self._redraw()

    def began(self, task: Task) -> None:
        at = ", ".join(f"{name} {short(value)}" for name, value in task.point.items()) or "no hyperparameters to search"
        self.message(f"trial {task.number}: {at}")

    def evaluated(self, number: int, entry: Mapping[str, float]) -> None:
        line = f"trial {number}, step {entry['step']:,} ({entry['progress']:.0%}): {entry[self.goal.entry]:.4f}"
        if self.bar:
            self._redraw(line)
        else:
            self.message(line)

    def ended(self, trial: TrialResult) -> None:
        self.trials.append(trial)
        self.message(f"trial {trial.number}: {describe(trial)} in {trial.seconds:.0f} s · {self.status()}")
        self._redraw()

    def batches(self, number: int) -> Callback | None:
        """Prints lines during a trial if there is no terminal with a progress bar, because an epoch may take minutes."""
        if self.bar:
            return None
        from headway.reporting.training import LineProgress

        return LineProgress(f"trial {number}")

    def message(self, line: str) -> None:
        self.console.print(one_line(line))

    def status(self) -> str:
        """The state of the search in one line."""
        states = [trial.state for trial in self.trials]
        counts = f"{states.count('complete')} done, {states.count('pruned')} pruned, {states.count('failed')} failed"
        parts = [f"{counts} of {self.params.trials}"]
        if "complete" in states:
            winner = best(self.trials, self.params)
            parts.insert(0, f"best {score_of(winner):.4f} (trial {winner.number})")
        remaining = self.params.trials - len(self.trials)
        if self.trials and remaining > 0:  # if the remaining trials take as long as those before them
            each = sum(trial.seconds for trial in self.trials) / len(self.trials)
            at_once = 1 if self.params.executor == "serial" else self.params.workers
            parts.append(f"about {duration(each * remaining / at_once)} left")
        return ", ".join(parts)

    def _redraw(self, more: str = "") -> None:
        if self.bar:
            line = " · ".join(filter(None, [self.status(), more]))
            self.bar.update(self.task, completed=len(self.trials), description=one_line(line), refresh=True)


def describe(trial: TrialResult) -> str:
    """How a trial ended: its score, or the reason for its failure."""
    if trial.state == "failed":
        return f"failed: {trial.reason}"
    return f"pruned at {trial.score:.4f}" if trial.state == "pruned" else f"{trial.score:.4f}"


def short(value: Any) -> str:
    """A hyperparameter's value to three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
