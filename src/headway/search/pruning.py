"""Which trials stop early: a limit for each rung, computed before the trial starts from the curves of earlier batches.

Optuna's pruners decide while the trial runs. ``SuccessiveHalvingPruner`` ranks a trial among all that reached the rung by then,
and ``PercentilePruner`` reads the study on every call. With several workers the result would depend on which trial ends first,
an interrupted study would not continue as it would have, and a Ray worker would need access to the storage.
"""

from __future__ import annotations

from collections.abc import Sequence

from headway.params import TuneParams
from headway.search.goals import objective
from headway.search.results import TrialResult

#: Reduction factor: one trial in three continues.
ETA = 3
#: Epochs after which trials are compared. Later rungs cost more good trials than they save: see `make bench-search`.
RUNGS = (0.5, 1)
#: Optimizer steps before a trial can be pruned. With fewer, its value means nothing and the trial is cheap anyway.
MIN_STEPS = 8


def limits(earlier: Sequence[TrialResult], params: TuneParams) -> dict[float, float]:
    """The objective value that a trial must reach to continue, by epoch; empty if nothing is pruned.

    A trial continues if it is among the best third of earlier trials, as in asynchronous successive halving (Li et al.
    2020, "A System for Massively Parallel Hyperparameter Tuning"). There a trial is paused and may be promoted later; here the
    decision is final. With a second objective nothing is pruned, since a trial with a low score may be small or fast.
    """
    if not params.pruning or params.second_objective != "none":
        return {}
    goal = objective(params)
    found: dict[float, float] = {}
    for rung in RUNGS:
        values = [entry[goal.entry] for trial in earlier for entry in trial.curve if entry["epoch"] == rung]
        if values and rung < params.max_epochs:
            found[rung] = sorted(values, reverse=goal.maximise)[len(values) // ETA]
    return found
