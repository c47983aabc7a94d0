"""Points of the space: which are proposed next, and whether there is one left. A pure function of what was tried before."""

from __future__ import annotations

import random
import warnings
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from headway.ranges import Choices, FloatRange, IntRange, Point, Space, is_active, parents_first

STARTUP_TRIALS = 4
#: Draws before an untried point of a finite space is looked for by listing them.
DRAWS = 20
#: Spaces of more points than this are never listed, and never exhausted.
MOST_POINTS = 10_000


def propose(
    space: Space,
    directions: Sequence[Literal["maximize", "minimize"]],
    seed: int,
    history: Sequence[FrozenTrial],
    pending: Sequence[Point],
    tried: Collection[Point],
) -> dict[str, Any] | None:
    """The next point, drawn by the multivariate tree-structured Parzen estimator (Bergstra et al. 2011; Falkner et al. 2018).

    Args:
        space: of the study.
        directions: of its objectives, ``maximize`` or ``minimize``.
        seed: of the draw.
        history: finished trials, as :func:`past` makes them.
        pending: points that are about to be tried; the draw keeps off them.
        tried: points that must not come again.

    Returns:
        A point that is not among the tried ones; None when all have been tried.
    """
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    conditional = any(knob.when for knob in space.values())
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=conditional, n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    study.add_trials(history)
    for point in pending:
        study.add_trial(past(space, point, TrialState.RUNNING))
    every = list(islice(_all_points(space), MOST_POINTS + 1))
    endless = not every or len(every) > MOST_POINTS
    seen = {frozenset(point.items()) for point in tried}
    for _ in range(MOST_POINTS if endless else DRAWS):
        point = draw(study.ask(), space)
        if frozenset(point.items()) not in seen:
            return point
    left = [point for point in every if frozenset(point.items()) not in seen]
    return random.Random(seed).choice(left) if left else None


def draw(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Ask a trial for every knob whose conditions hold."""
    point: dict[str, Any] = {}
    for path in parents_first(space):
        knob = space[path]
        if is_active(knob, point):
            if isinstance(knob, FloatRange):
                point[path] = trial.suggest_float(path, knob.low, knob.high, log=knob.log)
            elif isinstance(knob, IntRange):
                point[path] = trial.suggest_int(path, knob.low, knob.high, step=knob.step, log=knob.log)
            else:
                point[path] = trial.suggest_categorical(path, knob.choices)
    return {path: point[path] for path in space if path in point}


def past(space: Space, point: Point, state: TrialState, **known: Any) -> FrozenTrial:
    """A trial at a point, in Optuna's terms; ``known`` are further arguments of Optuna's ``create_trial``."""
    distributions = {path: distribution(space[path]) for path in point}
    return create_trial(state=state, params=dict(point), distributions=distributions, **known)


def distribution(knob: FloatRange | IntRange | Choices) -> BaseDistribution:
    """A knob's range in Optuna's terms."""
    if isinstance(knob, FloatRange):
        return FloatDistribution(knob.low, knob.high, log=knob.log)
    if isinstance(knob, IntRange):
        return IntDistribution(knob.low, knob.high, step=knob.step, log=knob.log)
    return CategoricalDistribution(knob.choices)


def _all_points(space: Space) -> Iterator[dict[str, Any]]:
    """Every point of a finite space; none of one with a real interval."""
    order = parents_first(space)

    def extend(point: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
        if depth == len(order):
            yield {path: point[path] for path in space if path in point}
            return
        path = order[depth]
        knob = space[path]
        if not is_active(knob, point):
            yield from extend(point, depth + 1)
            return
        for value in _values(knob):
            yield from extend({**point, path: value}, depth + 1)

    finite = all(not isinstance(knob, FloatRange) or knob.low == knob.high for knob in space.values())
    return extend({}, 0) if finite else iter(())


def _values(knob: FloatRange | IntRange | Choices) -> Sequence[Any]:
    if isinstance(knob, FloatRange):
        return [knob.low]
    if isinstance(knob, IntRange):
        return range(knob.low, knob.high + 1, knob.step)
    return knob.choices
