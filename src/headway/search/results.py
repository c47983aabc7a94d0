"""Finished trials: which of them count, which has won, and what the search gained at what cost. Nothing heavy is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from headway.params import TuneParams
from headway.search.goals import epochs_of, objective, second_objective


@dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        number: position in the study, from 0.
        state: ``complete``, ``pruned`` or ``failed``.
        score: the objective's value; of a pruned trial its last one; None when it failed.
        second: the second objective's value, if the study has one.
        point: value by knob.
        curve: metrics after each epoch and in the middle of the first, with that ``epoch``.
        reason: why it failed, else "".
        tokens: that were trained on.
        seconds: it took; a clock's time, which is no part of what it found.
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
        """All but the seconds."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "seconds"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)


def reaches_target(trials: Sequence[TrialResult], params: TuneParams) -> bool:
    """Whether one of the trials is as good as ``tune.target``; never, when that is 0."""
    goal = objective(params)
    return bool(params.target) and any(
        trial.state == "complete" and trial.score is not None and not goal.is_better(params.target, trial.score)
        for trial in trials
    )


def counted(trials: Sequence[TrialResult], params: TuneParams, workers: int) -> list[TrialResult]:
    """The trials within the budget: a study that a larger budget continued holds more."""
    within = [trial for trial in trials if trial.number < params.trials]
    for end in range(workers, params.trials, workers):
        if reaches_target([trial for trial in within if trial.number < end], params):
            return [trial for trial in within if trial.number < end]
    return within


def best(trials: Sequence[TrialResult], params: TuneParams) -> TrialResult:
    """The winner.

    With one objective: the completed trial with the best score; among equals the earliest. With two: of the Pareto front,
    the one with the least latency or size that loses at most ``tune.second_margin`` of the objective against the best.
    """
    goal = objective(params)
    complete = [trial for trial in trials if trial.state == "complete"]
    first = min(complete, key=lambda trial: (-goal.gain(score_of(trial), 0.0), trial.number))
    if params.second_objective == "none":
        return first
    close = [
        trial for trial in front(complete, params) if goal.gain(score_of(first), score_of(trial)) <= params.second_margin
    ]
    return min(close, key=lambda trial: (second_of(trial), trial.number))


def front(trials: Sequence[TrialResult], params: TuneParams) -> list[TrialResult]:
    """The completed trials that no other one surpasses in one objective without falling behind in the other, best score first."""
    goal, second = objective(params), second_objective(params)
    complete = [trial for trial in trials if trial.state == "complete"]
    if second is None:
        return []

    def surpasses(one: TrialResult, other: TrialResult) -> bool:
        gains = goal.gain(score_of(one), score_of(other)), second.gain(second_of(one), second_of(other))
        return min(gains) >= 0 and (max(gains) > 0 or one.number < other.number)

    kept = [trial for trial in complete if not any(surpasses(other, trial) for other in complete if other is not trial)]
    return sorted(kept, key=lambda trial: (-goal.gain(score_of(trial), 0.0), trial.number))


def summary(trials: Sequence[TrialResult], params: TuneParams) -> dict[str, Any]:
    """What the search found, what it gained over trial 0, the values in params.yaml, and what it cost in training."""
    winner = best(trials, params)
    goal = objective(params)
    first = trials[0] if trials[0].number == 0 and trials[0].state == "complete" else None
    found: dict[str, Any] = {
        "trials": len(trials),
        "pruned": sum(trial.state == "pruned" for trial in trials),
        "failed": sum(trial.state == "failed" for trial in trials),
        "objective": params.objective,
        "best_trial": winner.number,
        "best_score": round(score_of(winner), 6),
        "gain_over_defaults": None if first is None else round(goal.gain(score_of(winner), score_of(first)), 6),
        "epochs": sum(epochs_of(trial.curve) for trial in trials),
        "training_tokens": sum(trial.tokens for trial in trials),
    }
    if params.second_objective != "none":
        found["second_objective"] = params.second_objective
        found["second_margin"] = params.second_margin
        found["best_second"] = round(second_of(winner), 6)
        found["front"] = [trial.number for trial in front(trials, params)]
    return found


def verdict(trials: Sequence[TrialResult], params: TuneParams) -> list[str]:
    """What the search was worth, line by line: its gain over the defaults on validation rows, and its cost."""
    found = summary(trials, params)
    gain, title = found["gain_over_defaults"], objective(params).title
    if gain is None:
        worth = f"trial {found['best_trial']} is best, {title} {found['best_score']:.4f}; the defaults, trial 0, failed"
    elif gain > 0:
        worth = (
            f"the search gained {gain:.4f} over the defaults: trial {found['best_trial']}, {title} {found['best_score']:.4f}"
        )
    else:
        worth = (
            f"the search gained nothing over the defaults: trial {found['best_trial']}, {title} {found['best_score']:.4f}"
        )
    ends = f"{found['pruned']} pruned, {found['failed']} failed"
    scored = found["trials"] - found["failed"]
    luck = [f"the best of {scored} scores on the same validation rows: some of that is luck"] if gain and gain > 0 else []
    cost = f"it cost {found['trials']} trials ({ends}), {found['epochs']:g} epochs, {found['training_tokens']:,} training tokens"
    share = "all of" if params.train_share == 1 else f"{params.train_share:.0%} of"
    what = f"a trial is the attention part alone, on {share} the training rows; `headway train` takes all, and both parts"
    lines = [worth, *luck, what, cost]
    if params.second_objective != "none":
        second = second_objective(params)
        assert second is not None
        numbers = ", ".join(map(str, found["front"]))
        lines.append(
            f"the front is trials {numbers}; the winner has the least {second.title} of those within {params.second_margin:g} "
            "of the best score"
        )
    return lines


def score_of(trial: TrialResult) -> float:
    """The objective's value of a trial that did not fail."""
    assert trial.score is not None, "only a failed trial has no score"
    return trial.score


def second_of(trial: TrialResult) -> float:
    """The second objective's value of a completed trial."""
    assert trial.second is not None, "a completed trial of a study with two objectives has both"
    return trial.second
