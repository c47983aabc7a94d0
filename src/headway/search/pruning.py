"""When a trial is not worth going on with: decided beforehand, by the curves of the trials before it."""

from __future__ import annotations

from collections.abc import Sequence

from headway.params import TuneParams
from headway.search.goals import objective
from headway.search.results import TrialResult

#: One of so many goes on.
ETA = 3
#: Epochs after which it is decided. Later ones cost more good trials than they save: `make bench-search` tells.
RUNGS = (0.5, 1)
#: Steps before a value says anything; with fewer, a trial goes on, and costs little.
MIN_STEPS = 8


def limits(earlier: Sequence[TrialResult], params: TuneParams) -> dict[float, float]:
    """By epoch, the value that a trial has to reach to go on: after half an epoch and after one, if more are to follow.

    A trial goes on if it is among the best third of the trials that came so far, as in the asynchronous successive halving
    of Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"; there a trial waits to be promoted, here it
    is decided at once, by trials of earlier batches alone. So no worker asks another, and an interrupted study goes on as it
    would have. With a second objective nothing is pruned: what scores little may be small, or fast.
    """
    if not params.pruning or params.second_objective != "none":
        return {}
    goal = objective(params)
    found: dict[float, float] = {}
    for rung in RUNGS:
        values = [entry[goal.entry] for trial in earlier for entry in trial.curve if entry["epoch"] == rung]
        if values and rung < params.max_epochs:
            found[rung] = goal.ranked(values)[len(values) // ETA]
    return found
