"""Proposes the next point of a search space: a pure function of the points that were tried before."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from headway.ranges import Choices, FloatRange, IntRange, Point, Space, Value, active_point, parents_first

STARTUP_TRIALS = 4
#: Draws from a finite space before an untried point is looked for, and from an infinite one before giving up.
DRAWS, MOST_DRAWS = 20, 10_000


def propose(
    space: Space,
    directions: Sequence[Literal["maximize", "minimize"]],
    seed: int,
    history: Sequence[FrozenTrial],
    pending: Sequence[Point],
    tried: Collection[Point],
) -> dict[str, Any] | None:
    """Draw the next point by the multivariate tree-structured Parzen estimator (Bergstra et al. 2011; Falkner et al. 2018).

    Args:
        history: finished trials, as :func:`frozen_trial` makes them.
        pending: points of trials that are about to run; the sampler avoids their neighbourhood.
        tried: points that must not be proposed again.

    Returns:
        A point that is not in ``tried``; None if the space has no other.
    """
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    conditional = any(knob.when for knob in space.values())
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=conditional, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    study.add_trials(history)
    for point in pending:
        study.add_trial(frozen_trial(space, point, TrialState.RUNNING))
    seen = {frozenset(point.items()) for point in tried}
    finite = not any(isinstance(knob, FloatRange) for knob in space.values())
    for _ in range(DRAWS if finite else MOST_DRAWS):
        point = draw(study.ask(), space)
        if frozenset(point.items()) not in seen:
            return point
    if finite:
        study = optuna.create_study(directions=list(directions), sampler=optuna.samplers.BruteForceSampler(seed=seed))
        for known in tried:
            study.add_trial(frozen_trial(space, known, TrialState.FAIL))
        point = draw(study.ask(), space)
        if frozenset(point.items()) not in seen:
            return point
    return None


def draw(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Suggest a value for every hyperparameter that is active."""

    def suggest(path: str) -> Value:
        knob = space[path]
        if isinstance(knob, FloatRange):
            return trial.suggest_float(path, knob.low, knob.high, log=knob.log)
        if isinstance(knob, IntRange):
            return trial.suggest_int(path, knob.low, knob.high, step=knob.step, log=knob.log)
        value: Value = trial.suggest_categorical(path, knob.choices)  # type: ignore[assignment]  # a choice is never None
        return value

    return active_point(space, suggest)


def frozen_trial(space: Space, point: Point, state: TrialState, **fields: Any) -> FrozenTrial:
    """An Optuna trial at a point; ``fields`` are further arguments of ``optuna.trial.create_trial``."""
    # In the order of the draws, which BruteForceSampler relies on.
    distributions = {path: distribution(space[path]) for path in parents_first(space) if path in point}
    return create_trial(state=state, params=dict(point), distributions=distributions, **fields)


def distribution(knob: FloatRange | IntRange | Choices) -> BaseDistribution:
    """The Optuna distribution of a range."""
    if isinstance(knob, FloatRange):
        return FloatDistribution(knob.low, knob.high, log=knob.log)
    if isinstance(knob, IntRange):
        return IntDistribution(knob.low, knob.high, step=knob.step, log=knob.log)
    return CategoricalDistribution(knob.choices)
