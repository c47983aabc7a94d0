"""The trials of a search in an Optuna storage, kept so that a kill at any moment loses no finished trial.

A trial that is interrupted is attempted once more, as a second Optuna trial with our trial's number. Two interrupted
attempts are a failed trial. Optuna's ``RetryHeartbeatStaleTrialCallback`` is not used: it never runs for a journal, it queues
the next attempt in a second write, which a kill can prevent, and it counts trials that were only waiting for a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from headway.params import TuneParams
from headway.search.goals import objective, second_objective
from headway.search.results import TrialResult
from headway.search.space import frozen_trial
from headway.search.storage import record_heartbeat, run_elsewhere
from headway.search.trial import Outcome, Task

#: User attributes of an Optuna trial: the number of our trial, whether it was handed to a worker, its outcome, and whether the
#: search was ended from outside meanwhile, so that the attempt does not count.
NUMBER, STARTED, OUTCOME, STOPPED = "number", "started", "outcome", "stopped"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
INTERRUPTED_TWICE = "interrupted twice: its process died both times; the system kills processes when memory is short"


@dataclass(frozen=True)
class Attempts:
    """The attempts of one study.

    Methods that write raise ``UpdateFinishedTrialError`` if another process has ended the attempt.
    """

    study: optuna.Study
    params: TuneParams

    @classmethod
    def open(cls, storage: BaseStorage, name: str, params: TuneParams) -> Self:
        """Open a study, or create it."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(storage=storage, study_name=name, directions=directions(params), load_if_exists=True)
        return cls(study, params)

    @property
    def storage(self) -> BaseStorage:
        return self.study._storage

    def begin(self, task: Task) -> int:
        """Create an attempt and return its id in the storage.

        The first heartbeat precedes the state RUNNING: Optuna never fails a running trial that has none.
        """
        trial = frozen_trial(self.params.space, task.point, TrialState.WAITING, user_attrs={NUMBER: task.number})
        trial_id = self.storage.create_new_trial(self.study._study_id, template_trial=trial)
        record_heartbeat(self.storage, trial_id)
        self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return trial_id

    def require_alone(self, mine: Sequence[int]) -> None:
        """Of two processes that begin a batch at the same time, the one with the first attempt continues.

        Raises:
            HeadwayError: another process was first, or has finished one of these trials in the meantime.
        """
        trials = self.study.get_trials(deepcopy=False)
        numbers = {trial.user_attrs[NUMBER] for trial in trials if trial._trial_id in mine}
        for trial in trials:
            earlier = not trial.state.is_finished() and trial._trial_id < min(mine)
            if earlier or (OUTCOME in trial.user_attrs and trial.user_attrs[NUMBER] in numbers):
                raise run_elsewhere(trial)

    def start(self, trial_id: int) -> None:
        """Record that a worker is about to be given this attempt."""
        self.storage.set_trial_user_attr(trial_id, STARTED, True)

    def finish(self, trial_id: int, outcome: Outcome) -> None:
        """Record an outcome. The first write holds all of it, so a kill between the writes loses nothing."""
        self.storage.set_trial_user_attr(trial_id, OUTCOME, asdict(outcome))
        if self.params.second_objective == "none":  # Optuna has no intermediate values of two objectives
            for entry in outcome.curve:
                value = entry[objective(self.params).entry]
                self.storage.set_trial_intermediate_value(trial_id, int(entry["step"]), value)
        self.storage.set_trial_state_values(trial_id, STATES[outcome.state], list(outcome.values) or None)

    def interrupt(self, trial_id: int) -> None:
        """Record that the worker of an attempt died."""
        self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def stop(self, trial_ids: Sequence[int]) -> None:
        """End the attempts that still run because the search was ended from outside. They do not count."""
        for trial_id in trial_ids:
            with suppress(UpdateFinishedTrialError):  # it has ended
                self.storage.set_trial_user_attr(trial_id, STOPPED, True)
                self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def points(self) -> dict[int, dict[str, Any]]:
        """The hyperparameters of every trial that was ever begun, by number."""
        return {trial.user_attrs[NUMBER]: trial.params for trial in self.study.get_trials(deepcopy=False)}

    def results(self) -> list[TrialResult]:
        """The finished trials, by number."""
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        results = []
        for number, group in groupby(sorted(ended, key=_number), key=_number):
            attempts = list(group)
            if found := _outcome(attempts):
                point, curve, (score, second) = dict(attempts[0].params), list(found.curve), (*found.values, None, None)[:2]
                cost = found.reason, found.tokens, found.seconds
                results.append(TrialResult(number, found.state, score, second, point, curve, *cost, found.row_scores))
        return results


def directions(params: TuneParams) -> list[Literal["maximize", "minimize"]]:
    """The directions of a study's objectives, as Optuna names them."""
    goals = [goal for goal in (objective(params), second_objective(params)) if goal]
    return ["maximize" if goal.maximise else "minimize" for goal in goals]


def _number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[NUMBER])


def _outcome(attempts: Sequence[FrozenTrial]) -> Outcome | None:
    """The outcome of a trial, given its ended attempts; None if it must be attempted again."""
    for attempt in attempts:
        if stored := attempt.user_attrs.get(OUTCOME):
            return Outcome(**{**stored, "values": tuple(stored["values"]), "curve": tuple(stored["curve"])})
    interrupted = [attempt for attempt in attempts if STARTED in attempt.user_attrs and STOPPED not in attempt.user_attrs]
    return Outcome("failed", reason=INTERRUPTED_TWICE) if len(interrupted) >= 2 else None
