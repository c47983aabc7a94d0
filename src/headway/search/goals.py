"""The objectives of a study, and which of two values is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headway.params import TuneParams

#: Validation metric that decides which evaluation's weights a training keeps, the lowest: the negative log-likelihood of the
#: attention part at the best temperature, as in :data:`headway.model.lightning.MONITOR`.
KEPT_BY = "validation_loss_calibrated"


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


#: All metrics are of the joint model, as it is served: see :mod:`headway.search.joint`.
OBJECTIVES = {
    "accuracy": Goal("joint_validation_accuracy", "validation accuracy of the joint model", maximise=True),
    "macro_f1": Goal("joint_validation_macro_f1", "validation macro-F1 of the joint model", maximise=True),
    "negative_log_likelihood": Goal(
        "joint_validation_loss", "validation negative log-likelihood of the joint model", maximise=False
    ),
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
    """The objective at the evaluation whose weights the training keeps."""
    return kept(curve)[goal.entry]


def kept(curve: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """The evaluation whose weights a training keeps: the first with the lowest calibrated loss of the attention part."""
    return min(curve, key=lambda entry: entry[KEPT_BY])


def epochs_of(curve: Sequence[Mapping[str, float]]) -> float:
    """Number of epochs that a trial was trained for, as its curve shows."""
    return curve[-1]["epoch"] if curve else 0.0
