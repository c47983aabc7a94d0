"""Finished trials: which of them count, which one wins, and a summary of the search. Nothing heavy is imported here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from headway.params import TuneParams
from headway.search.goals import epochs_of, objective, second_objective
from headway.search.noise import LEVEL, RowNoise, row_noise, seed_gain

#: A search may stop early once this share of its trials, and at least this number, is finished.
EARLY_SHARE, EARLY_TRIALS = 0.25, 4
NOT_WRITTEN = ("seconds", "row_scores", "repeat")


@dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        score: value of the objective, which is of the joint model; the last one of a pruned trial; None for a failed trial.
        second: value of the second objective, if the study has one and the trial is complete.
        curve: metrics of each evaluation, with its ``step``, ``epoch`` and ``progress``.
        tokens: number of training tokens, times epochs.
        seconds: duration; not part of :meth:`as_dict`, because it differs from run to run.
        row_scores: the objective of each validation row of a completed trial, see :mod:`headway.search.row_scores`; not part of
            :meth:`as_dict`, because the summary has what follows from it.
        repeat: which repetition with another seed it is; 0 for the trial itself. Not part of :meth:`as_dict`: repetitions are
            kept apart from the trials.
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
    row_scores: str = ""
    repeat: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The fields that later stages read."""
        return {name: value for name, value in asdict(self).items() if name not in NOT_WRITTEN}


@dataclass(frozen=True)
class SearchSummary:
    """What the search found and what it cost in training.

    Attributes:
        objective: as in ``tune.objective``.
        best_trial: number of the trial with the best score.
        winner: number of the trial whose hyperparameters are used: the best one, or 0, the values in params.yaml, if its gain
            may be noise. With a second objective, the winner by that.
        gain_over_defaults: how much better the best trial is than trial 0, on the same validation rows; None if trial 0 did
            not complete.
        row_noise: gain on these rows that chance alone exceeds once in ten searches; None if it is unknown.
        row_p_value: probability that chance alone gives the gain on these rows, corrected for the number of trials.
        seed_gain, seed_noise: gain of the best trial trained again with other seeds, and the gain that chance alone exceeds once
            in ten searches; None if it was not trained again.
        trials_differ: whether any trial differs from the defaults by more than noise, for better or worse; None if unknown.
        stopped_early: whether the search ended before its budget because no trial did.
        train_share: share of the training rows that a trial is trained on.
        epochs, training_tokens: sums over all trials and repetitions.
        pareto_front: numbers of the trials on it, best score first.
    """

    trials: int
    pruned: int
    failed: int
    objective: str
    best_trial: int
    best_score: float
    winner: int
    gain_over_defaults: float | None
    row_noise: float | None
    row_p_value: float | None
    seed_gain: float | None
    seed_noise: float | None
    trials_differ: bool | None
    stopped_early: bool
    epochs: float
    training_tokens: int
    train_share: float
    second_objective: str = "none"
    second_margin: float = 0.0
    best_second: float | None = None
    pareto_front: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The fields; those of a second objective only if there is one."""
        single = ("second_objective", "second_margin", "best_second", "pareto_front")
        fields = asdict(self)
        return fields if self.best_second is not None else {name: fields[name] for name in fields if name not in single}


@dataclass(frozen=True)
class FinishedSearch:
    """The finished trials of a search, by number, and what follows from their scores, each computed once.

    Attributes:
        may_stop_early: whether the search may end before its budget because no trial differs from the defaults.
    """

    trials: Sequence[TrialResult]
    params: TuneParams
    may_stop_early: bool = True

    @cached_property
    def noise(self) -> RowNoise | None:
        """The noise of the scores that comes from the choice of validation rows; None if there is nothing to compare."""
        return row_noise(self.trials, self.params)

    @cached_property
    def has_reached_target(self) -> bool:
        """Whether a completed trial is at least as good as ``tune.target``; always False if the target is 0."""
        goal, target = objective(self.params), self.params.target
        return bool(target) and any(not goal.is_better(target, score_of(trial)) for trial in completed(self.trials))

    @cached_property
    def stops_early(self) -> bool:
        """Whether the search ends here, before its budget and its target, because no trial differs from the defaults by more
        than noise, for better or worse.

        The part of the space that was tried has then no effect that these validation rows can show.
        """
        scored = sum(trial.state != "failed" for trial in self.trials)
        enough = scored >= max(EARLY_TRIALS, math.ceil(EARLY_SHARE * self.params.trials))
        if not (self.may_stop_early and enough) or len(self.trials) >= self.params.trials or self.has_reached_target:
            return False
        return self.noise is not None and not self.noise.differ

    def within_budget(self, workers: int) -> FinishedSearch:
        """The trials that a search with these params would have run. A larger budget may have continued the same study."""
        within = [trial for trial in self.trials if trial.number < self.params.trials]
        for end in range(workers, self.params.trials, workers):
            batches = replace(self, trials=[trial for trial in within if trial.number < end])
            if batches.has_reached_target or batches.stops_early:
                return batches
        return replace(self, trials=within)


def spent_seconds(trials: Sequence[TrialResult], params: TuneParams, workers: int) -> float:
    """Duration of the trials, given by number: their sum or, if a batch runs in parallel, the sum of each batch's longest."""
    if params.executor == "serial":
        return sum(trial.seconds for trial in trials)
    batches = groupby(trials, key=lambda trial: trial.number // workers)
    return sum(max(trial.seconds for trial in batch) for _, batch in batches)


def best(trials: Sequence[TrialResult], params: TuneParams) -> TrialResult:
    """The best trial, whether or not its gain is noise.

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
    front: list[TrialResult] = []
    for trial in sorted(
        completed(trials),
        key=lambda trial: (-goal.gain(score_of(trial), 0.0), -second.gain(second_of(trial), 0.0), trial.number),
    ):
        if not front or second.is_better(second_of(trial), second_of(front[-1])):
            front.append(trial)
    return front


def summary(search: FinishedSearch, repeats: Sequence[TrialResult] = (), train_share: float = 1.0) -> SearchSummary:
    """A summary of a finished search, of which at least one trial is complete.

    Args:
        repeats: the best trial and trial 0, trained again with other seeds.
        train_share: share of the training rows that a trial is trained on.
    """
    trials, params, noise = search.trials, search.params, search.noise
    leader, goal = best(trials, params), objective(params)
    defaults = next((trial for trial in completed(trials) if trial.number == 0), None)
    seeds = None
    if defaults and repeats and all(trial.state == "complete" for trial in repeats):
        again = {number: [score_of(trial) for trial in repeats if trial.number == number] for number in (0, leader.number)}
        seeds = seed_gain([score_of(defaults), *again[0]], again[leader.number], params)
    beyond_rows = noise is not None and noise.p_value is not None and noise.p_value <= LEVEL
    beaten = noise is None or (beyond_rows and seeds is not None and seeds[0] > seeds[1])
    two = params.second_objective != "none"
    return SearchSummary(
        trials=len(trials),
        pruned=sum(trial.state == "pruned" for trial in trials),
        failed=sum(trial.state == "failed" for trial in trials),
        objective=params.objective,
        best_trial=leader.number,
        best_score=round(score_of(leader), 6),
        winner=leader.number if beaten else 0,
        gain_over_defaults=round(goal.gain(score_of(leader), score_of(defaults)), 6) if defaults else None,
        row_noise=round(noise.limit, 6) if noise and noise.limit is not None else None,
        row_p_value=round(noise.p_value, 6) if noise and noise.p_value is not None else None,
        seed_gain=round(seeds[0], 6) if seeds else None,
        seed_noise=round(seeds[1], 6) if seeds and math.isfinite(seeds[1]) else None,
        trials_differ=noise.differ if noise else None,
        stopped_early=search.stops_early,
        epochs=round(sum(epochs_of(trial.curve) for trial in [*trials, *repeats]), 3),
        training_tokens=sum(trial.tokens for trial in [*trials, *repeats]),
        train_share=round(train_share, 6),
        second_objective=params.second_objective,
        second_margin=params.second_margin,
        best_second=round(second_of(leader), 6) if two else None,
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
