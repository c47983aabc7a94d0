"""Which trials stop early: a limit for each rung, computed before the trial starts from the curves of earlier batches.

Optuna's pruners decide while the trial runs. ``SuccessiveHalvingPruner`` ranks a trial among all that reached the rung by then,
and ``PercentilePruner`` reads the study on every call. With several workers the result would depend on which trial ends first,
an interrupted study would not continue as it would have, and a Ray worker would need access to the storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headway.params import TuneParams
from headway.search.goals import objective
from headway.search.results import TrialResult

#: Reduction factor: one trial in three continues.
ETA = 3
#: Shares of a trial's steps after which it is compared, at the first evaluation from there on. Later rungs cost more good trials
#: than they save: see `make bench-search`.
RUNGS = (0.25, 0.5)
#: Optimizer steps before a trial can be pruned. With fewer, its value means nothing and the trial is cheap anyway.
MIN_STEPS = 8


def limits(earlier: Sequence[TrialResult], params: TuneParams) -> dict[float, float]:
    """The objective value that a trial must reach to continue, by rung; empty if nothing is pruned.

    A trial continues if it is among the best third of earlier trials, as in asynchronous successive halving (Li et al.
    2020, "A System for Massively Parallel Hyperparameter Tuning"). There a trial is paused and may be promoted later; here the
    decision is final. With a second objective nothing is pruned, since a trial with a low score may be small or fast.
    """
    if not params.pruning or params.second_objective != "none":
        return {}
    goal = objective(params)
    values: dict[float, list[float]] = {rung: [] for rung in RUNGS}
    for trial in earlier:
        for rung, entry in at_rungs(trial.curve, RUNGS):
            values[rung].append(entry[goal.entry])
    return {rung: sorted(reached, reverse=goal.maximise)[len(reached) // ETA] for rung, reached in values.items() if reached}


def at_rungs(curve: Sequence[Mapping[str, float]], rungs: Sequence[float]) -> Iterator[tuple[float, Mapping[str, float]]]:
    """The rungs that a trial has reached, each with its first evaluation from there on, the last evaluation excepted."""
    for rung in rungs:
        entry = next((entry for entry in curve if rung <= entry["progress"] < 1), None)
        if entry is not None:
            yield rung, entry
