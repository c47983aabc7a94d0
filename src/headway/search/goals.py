"""The objectives of a study, and which of two values is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headway.params import TuneParams

#: Validation metric that decides which epoch's weights a training keeps.
KEPT_BY = "validation_accuracy"


@dataclass(frozen=True)
class Goal:
    """One objective.

    Attributes:
        entry: name of the metric in a trial's curve; "" if it is measured after the training.
        title: name for people, with the unit.
    """

    entry: str
    title: str
    maximise: bool

    def is_better(self, one: float, other: float) -> bool:
        """Whether the first of two values is strictly better."""
        return one > other if self.maximise else one < other

    def gain(self, one: float, other: float) -> float:
        """By how much the first value is better; negative if it is worse."""
        return one - other if self.maximise else other - one


OBJECTIVES = {
    "accuracy": Goal("validation_accuracy", "validation accuracy", maximise=True),
    "macro_f1": Goal("validation_macro_f1", "validation macro-F1", maximise=True),
    "negative_log_likelihood": Goal("validation_loss", "validation negative log-likelihood", maximise=False),
}
SECOND = {
    "latency": Goal("", "latency, ms per text", maximise=False),
    "size": Goal("", "size, MB", maximise=False),
}


def objective(params: TuneParams) -> Goal:
    return OBJECTIVES[params.objective]


def second_objective(params: TuneParams) -> Goal | None:
    return SECOND.get(params.second_objective)


def value_of(goal: Goal, curve: Sequence[Mapping[str, float]]) -> float:
    """The objective at the epoch whose weights the training keeps: the first with the best validation accuracy."""
    whole = [entry for entry in curve if entry["epoch"] >= 1]
    return max(whole, key=lambda entry: entry[KEPT_BY])[goal.entry]


def epochs_of(curve: Sequence[Mapping[str, float]]) -> float:
    """Number of epochs that a trial was trained for, as its curve shows."""
    return curve[-1]["epoch"] if curve else 0.0
