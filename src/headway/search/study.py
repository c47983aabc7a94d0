"""The study: which points of the space are tried, in what order, and what is known afterwards.

It knows nothing of models: an objective takes a point, reports a score after each epoch, and returns the final one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import optuna.storages.journal
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from headway.errors import HeadwayError, Unreachable
from headway.params import TuneParams
from headway.ranges import Choices, FloatRange, IntRange, Value

STARTUP_TRIALS = 4
REASON, CURVE = "reason", "curve"

#: ``report(epoch, score, final)``, called after each epoch; after the final one nothing is left to save by pruning.
Report = Callable[[int, float, bool], None]
#: ``objective(number, point, report)``: trains at a point and returns its score.
Objective = Callable[[int, dict[str, Value], Report], float]


class Pruned(Exception):
    """Raised out of ``report`` when the trial is not worth going on with."""


@dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        number: position in the study, from 0, interrupted attempts not counted.
        state: ``complete``, ``pruned`` or ``failed``.
        score: the objective's value; of a pruned trial its last report; None when it failed before one.
        curve: score after each epoch.
        point: value by knob.
        reason: why it failed, else "".
    """

    number: int
    state: str
    score: float | None
    curve: list[float]
    point: dict[str, Value]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def search(
    params: TuneParams,
    defaults: Mapping[str, Value],
    seed: int,
    journal: Path,
    objective: Objective,
    tell: Callable[[str], None],
) -> list[TrialResult]:
    """Run trials until the budget of trials or time is used up; a study found in the journal is continued.

    Trial 0 is the defaults. Each proposal is drawn from a sampler seeded by the study's seed and the number of trials
    before it, so a study that was interrupted goes on exactly as it would have.

    Args:
        params: budget and space.
        defaults: value by knob, for every knob of the space.
        seed: of the proposals.
        journal: file that keeps the study.
        objective: trains at a point; a larger value is better.
        tell: receives lines for a person.

    Raises:
        HeadwayError: every trial failed.
        Unreachable: from the objective; the trial counts as interrupted, and its point is proposed anew by the next call.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    journal.parent.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    study = optuna.create_study(
        storage=storage,
        study_name="headway",
        direction="maximize",
        load_if_exists=True,
    )
    _set_interrupted_aside(study)
    if not any(_is_counted(trial) or trial.state == TrialState.WAITING for trial in study.trials):
        study.enqueue_trial(dict(defaults))
    space = {name: distribution(knob) for name, knob in params.space.items()}
    while (number := len(results(study))) < params.trials:
        spent = sum(trial.duration.total_seconds() for trial in _counted(study) if trial.duration)
        if number and spent > 60 * params.timeout_minutes:
            tell(f"the search stops after {number} of {params.trials} trials: {params.timeout_minutes:g} minutes are over")
            break
        study.sampler = optuna.samplers.TPESampler(seed=seed + number, multivariate=True, n_startup_trials=STARTUP_TRIALS)
        _run_trial(study, number, space, objective, tell)
    finished = results(study)
    if not any(trial.state == "complete" for trial in finished):
        reasons = sorted({trial.reason for trial in finished})
        raise HeadwayError(f"no trial of {len(finished)} could be completed: {'; '.join(reasons)}")
    return finished


def best(trials: list[TrialResult]) -> TrialResult:
    """The completed trial with the best score; among equals the earliest."""
    return max((t for t in trials if t.state == "complete"), key=lambda t: (t.score or 0.0, -t.number))


def results(study: optuna.Study) -> list[TrialResult]:
    """The finished trials in order, attempts that a kill interrupted left out."""
    return [
        TrialResult(
            number=number,
            state={TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed"),
            score=trial.value if trial.state == TrialState.COMPLETE else (trial.user_attrs.get(CURVE) or [None])[-1],
            curve=trial.user_attrs.get(CURVE, []),
            point=dict(trial.params),
            reason=trial.user_attrs.get(REASON, ""),
        )
        for number, trial in enumerate(_counted(study))
    ]


def distribution(knob: FloatRange | IntRange | Choices) -> BaseDistribution:
    """A knob's range in Optuna's terms."""
    if isinstance(knob, FloatRange):
        return FloatDistribution(knob.low, knob.high, log=knob.log)
    if isinstance(knob, IntRange):
        return IntDistribution(knob.low, knob.high, step=knob.step)
    return CategoricalDistribution(knob.choices)


def _is_counted(trial: FrozenTrial) -> bool:
    """Whether a trial ran to some end of its own; a failure without a reason is one that a kill interrupted."""
    return trial.state.is_finished() and (trial.state != TrialState.FAIL or REASON in trial.user_attrs)


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if _is_counted(trial)]


def _set_interrupted_aside(study: optuna.Study) -> None:
    """A trial found running was killed: it fails without a reason, and the same point is then proposed anew."""
    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)


def _is_poor(study: optuna.Study, epoch: int, score: float) -> bool:
    """Whether more than half of the trials before did better after this epoch; asked after epochs 1, 2, 4, 8 and so on.

    That is successive halving as it can be done one trial after another (Li et al. 2020, "A System for Massively Parallel
    Hyperparameter Tuning"). Optuna's own pruner also counts the attempts that a kill interrupted, and so would prune
    otherwise in a study that was continued than in one that was not.
    """
    if epoch & (epoch - 1):
        return False
    others = [trial.intermediate_values[epoch] for trial in _counted(study) if epoch in trial.intermediate_values]
    return 2 * sum(other > score for other in others) > len(others)


def _run_trial(
    study: optuna.Study,
    number: int,
    space: Mapping[str, BaseDistribution],
    objective: Objective,
    tell: Callable[[str], None],
) -> None:
    trial = study.ask(dict(space))
    point = dict(trial.params)
    curve: list[float] = []
    tell(
        f"trial {number}: " + (", ".join(f"{name} {_short(value)}" for name, value in point.items()) or "nothing to search")
    )

    def report(epoch: int, score: float, final: bool = False) -> None:
        curve.append(score)
        trial.report(score, epoch)
        if not final and _is_poor(study, epoch, score):
            raise Pruned

    started = time.monotonic()
    reason = ""
    try:
        score = objective(number, point, report)
    except Pruned:
        state, values, outcome = TrialState.PRUNED, None, f"pruned at {curve[-1]:.4f}"
    except Unreachable:
        raise  # the trial stays as a kill would leave it
    except (HeadwayError, MemoryError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        state, values, outcome = TrialState.FAIL, None, f"failed: {reason}"
    else:
        state, values, outcome = TrialState.COMPLETE, [score], f"{score:.4f}"
    trial.set_user_attr(CURVE, curve)
    if reason:
        trial.set_user_attr(REASON, reason)  # last: a trial that has it is done, even if it is killed before the next line
    study.tell(trial, values, state=state)
    tell(f"trial {number}: {outcome} in {time.monotonic() - started:.0f} s")


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
