"""Searches whose objective is a formula instead of a training, with a journal in a temporary folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headway.errors import HeadwayError
from headway.executors import Serial, Work
from headway.params import TuneParams
from headway.ranges import Choices, FloatRange, IntRange
from headway.search.goals import objective, value_of
from headway.search.pruning import at_rungs
from headway.search.results import TrialResult
from headway.search.storage import open_storage
from headway.search.study import Search
from headway.search.trial import Outcome, Progress, Task

SPACE: dict[str, Any] = {
    "training.learning_rate": FloatRange(type="float", low=1e-4, high=1e-1, log=True),
    "training.warmup_ratio": FloatRange(type="float", low=0.0, high=0.5),
    "model.n_layers": IntRange(type="int", low=1, high=9, step=2),
    "model.similarity": Choices(type="categorical", choices=["inner_product", "cosine"]),
}
DEFAULTS: dict[str, Any] = {
    "training.learning_rate": 0.05,
    "training.warmup_ratio": 0.4,
    "model.n_layers": 7,
    "model.similarity": "inner_product",
}
#: ``scores(number, point)``: the validation accuracy at each evaluation, one an epoch; a HeadwayError or MemoryError fails the
#: trial.
Scores = Callable[[int, Mapping[str, Any]], Sequence[float]]


def tune_params(**changed: Any) -> TuneParams:
    values: dict[str, Any] = {
        "trials": 8,
        "timeout_minutes": 10.0,
        "target": 0.0,
        "objective": "accuracy",
        "second_objective": "none",
        "second_margin": 0.0,
        "train_share": 1.0,
        "max_epochs": 2,
        "pruning": True,
        "executor": "serial",
        "workers": 1,
        "address": "",
        "storage": "",
        "space": SPACE,
    }
    return TuneParams(**{**values, **changed})


def accuracy(point: Mapping[str, Any]) -> float:
    """A smooth hill with its top at learning rate 0.01, dropout 0.1, 3 layers, cosine."""
    at = {**DEFAULTS, **point}
    return (
        0.9
        - 0.1 * (math.log10(at["training.learning_rate"]) + 2) ** 2
        - (at["training.warmup_ratio"] - 0.1) ** 2
        - 0.01 * (at["model.n_layers"] - 3) ** 2
        + 0.02 * (at["model.similarity"] == "cosine")
    )


def climb(number: int, point: Mapping[str, Any]) -> list[float]:
    """Two evaluations, the second better than the first."""
    return [accuracy(point) - 0.05, accuracy(point)]


def never(number: int, point: Mapping[str, Any]) -> list[float]:
    raise AssertionError("a trial was started")


def work_with(
    scores: Scores, params: TuneParams, second: Callable[[Mapping[str, Any]], float] | None = None
) -> Work[Task, Outcome]:
    """A trial with these scores that ends like a real one."""
    goal = objective(params)

    def work(shared: Any, task: Task, report: Any) -> Outcome:
        try:
            values = scores(task.number, task.point)
        except (HeadwayError, MemoryError) as error:
            return Outcome("failed", reason=str(error) or type(error).__name__)
        curve: list[dict[str, float]] = []
        for epoch, value in enumerate(values, 1):
            curve.append(
                {
                    "step": 10 * epoch,
                    "epoch": float(epoch),
                    "progress": epoch / len(values),
                    "joint_validation_accuracy": value,
                    "joint_validation_macro_f1": value - 0.01,
                    "joint_validation_loss": 1 - value,
                    "validation_loss": 1.5 - value,
                    "validation_loss_calibrated": 1 - value,
                    "train_loss": 1.0,
                }
            )
            if report:
                report(curve[-1])
            reached = curve[-1][goal.entry]
            rungs = [rung for rung, entry in at_rungs(curve, list(task.limits)) if entry is curve[-1]]
            if any(goal.is_better(task.limits[rung], reached) for rung in rungs):
                return Outcome("pruned", (reached,), tuple(curve), tokens=100 * epoch)
        found = (value_of(goal, curve), *([second(task.point)] if second else []))
        return Outcome("complete", found, tuple(curve), tokens=100 * len(curve))

    return work


class Shown(Progress):
    """Keeps what a person would see."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[int, float]] = []

    def resumed(self, trials: Sequence[TrialResult]) -> None:
        self.found = list(trials)

    def began(self, task: Task) -> None:
        self.lines.append(f"began {task.number}")

    def evaluated(self, number: int, entry: Mapping[str, float]) -> None:
        self.steps.append((number, entry["step"]))

    def ended(self, trial: TrialResult) -> None:
        self.lines.append(f"ended {trial.number}")

    def message(self, line: str) -> None:
        self.lines.append(line)


def ignore(trial: TrialResult) -> None:
    pass


def study(
    journal: Path,
    scores: Scores = climb,
    *,
    seed: int = 1,
    shown: Shown | None = None,
    record: Callable[[TrialResult], None] = ignore,
    defaults: Mapping[str, Any] = DEFAULTS,
    work: Work[Task, Outcome] | None = None,
    **budget: Any,
) -> list[TrialResult]:
    """Run a search, or continue the one in the journal."""
    params = tune_params(**budget)
    known = {name: value for name, value in defaults.items() if name in params.space}
    search = Search(params, known, seed, open_storage("", journal), "test")
    engine = Serial(work or work_with(scores, params), None, params.workers)
    return list(search.run(engine, shown or Shown(), record).trials)
