"""Finished trials: which of them count, which one wins, and a summary of the search. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headway.params import TuneParams
from headway.search.goals import epochs_of, objective, second_objective


@dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        score: value of the objective; the last one of a pruned trial; None for a failed trial.
        second: value of the second objective, if the study has one and the trial is complete.
        curve: metrics after each epoch and in the middle of the first, with their ``epoch``.
        tokens: number of training tokens, times epochs.
        seconds: duration; not part of :meth:`as_dict`, because it differs from run to run.
    """

    number: int
    state: str
    score: float | None
    second: float | None
    point: dict[str, Any]
    curve: list[dict[str, float]]
    reason: str
    tokens: int
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """All fields except ``seconds``."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


@dataclass(frozen=True)
class SearchSummary:
    """What the search found and what it cost in training.

    Attributes:
        gain_over_defaults: how much better the winner is than trial 0, the values in params.yaml; None if trial 0 did not
            complete.
        epochs, training_tokens: sums over all trials.
        pareto_front: numbers of the trials on it, best score first.
    """

    trials: int
    pruned: int
    failed: int
    objective: str
    best_trial: int
    best_score: float
    gain_over_defaults: float | None
    epochs: float
    training_tokens: int
    second_objective: str = "none"
    second_margin: float = 0.0
    best_second: float | None = None
    pareto_front: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The fields; those of a second objective only if there is one."""
        single = ("second_objective", "second_margin", "best_second", "pareto_front")
        fields = asdict(self)
        return fields if self.best_second is not None else {name: fields[name] for name in fields if name not in single}


def reaches_target(trials: Sequence[TrialResult], params: TuneParams) -> bool:
    """Whether a completed trial is at least as good as ``tune.target``; always False if the target is 0."""
    goal = objective(params)
    return bool(params.target) and any(not goal.is_better(params.target, score_of(trial)) for trial in completed(trials))


def within_budget(trials: Sequence[TrialResult], params: TuneParams, workers: int) -> list[TrialResult]:
    """The trials that a search with these params would have run. A larger budget may have continued the same study."""
    within = [trial for trial in trials if trial.number < params.trials]
    for end in range(workers, params.trials, workers):
        batches = [trial for trial in within if trial.number < end]
        if reaches_target(batches, params):
            return batches
    return within


def spent_seconds(trials: Sequence[TrialResult], params: TuneParams, workers: int) -> float:
    """Duration of the trials: their sum or, where a batch runs in parallel, the sum of each batch's longest."""
    if params.executor == "serial":
        return sum(trial.seconds for trial in trials)
    longest: dict[int, float] = {}
    for trial in trials:
        batch = trial.number // workers
        longest[batch] = max(longest.get(batch, 0.0), trial.seconds)
    return sum(longest.values())


def best(trials: Sequence[TrialResult], params: TuneParams) -> TrialResult:
    """The winner.

    With one objective: the completed trial with the best score, the earliest of equals. With two: the trial on the Pareto
    front with the least latency or size whose score is at most ``tune.second_margin`` below the best.
    """
    goal = objective(params)
    first = min(completed(trials), key=lambda trial: (-goal.gain(score_of(trial), 0.0), trial.number))
    if params.second_objective == "none":
        return first
    close = [
        trial
        for trial in pareto_front(trials, params)
        if goal.gain(score_of(first), score_of(trial)) <= params.second_margin
    ]
    return min(close, key=lambda trial: (second_of(trial), trial.number))


def pareto_front(trials: Sequence[TrialResult], params: TuneParams) -> list[TrialResult]:
    """The completed trials that no other trial dominates, best score first; empty with one objective.

    Of trials with equal values the earliest is kept.
    """
    goal, second = objective(params), second_objective(params)
    if second is None:
        return []

    def dominates(one: TrialResult, other: TrialResult) -> bool:
        gains = goal.gain(score_of(one), score_of(other)), second.gain(second_of(one), second_of(other))
        return min(gains) >= 0 and (max(gains) > 0 or one.number < other.number)

    candidates = completed(trials)
    front = [trial for trial in candidates if not any(dominates(other, trial) for other in candidates if other is not trial)]
    return sorted(front, key=lambda trial: (-goal.gain(score_of(trial), 0.0), trial.number))


def summary(trials: Sequence[TrialResult], params: TuneParams) -> SearchSummary:
    """A summary of a finished search, of which at least one trial is complete."""
    winner = best(trials, params)
    goal = objective(params)
    defaults = next((trial for trial in completed(trials) if trial.number == 0), None)
    two = params.second_objective != "none"
    return SearchSummary(
        trials=len(trials),
        pruned=sum(trial.state == "pruned" for trial in trials),
        failed=sum(trial.state == "failed" for trial in trials),
        objective=params.objective,
        best_trial=winner.number,
        best_score=round(score_of(winner), 6),
        gain_over_defaults=round(goal.gain(score_of(winner), score_of(defaults)), 6) if defaults else None,
        epochs=sum(epochs_of(trial.curve) for trial in trials),
        training_tokens=sum(trial.tokens for trial in trials),
        second_objective=params.second_objective,
        second_margin=params.second_margin,
        best_second=round(second_of(winner), 6) if two else None,
        pareto_front=tuple(trial.number for trial in pareto_front(trials, params)),
    )


def completed(trials: Sequence[TrialResult]) -> list[TrialResult]:
    return [trial for trial in trials if trial.state == "complete"]


def score_of(trial: TrialResult) -> float:
    """The objective's value of a trial that did not fail."""
    assert trial.score is not None, "only a failed trial has no score"
    return trial.score


def second_of(trial: TrialResult) -> float:
    """The second objective's value of a completed trial."""
    assert trial.second is not None, "a completed trial of a study with two objectives has both"
    return trial.second
