"""The study: which points are tried, in what order, what a kill leaves to be done, and what is known afterwards.

It knows nothing of models, of MLflow or of engines: an executor takes tasks and hands back outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from headway.errors import HeadwayError
from headway.executors import Executor, WorkerLost
from headway.params import TuneParams
from headway.ranges import Value, active_subset
from headway.search.goals import objective, second_objective
from headway.search.pruning import limits
from headway.search.results import TrialResult, counted, reaches_target
from headway.search.space import past, propose
from headway.search.storage import heartbeats, is_beating
from headway.search.trial import Outcome, Task

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Attributes of a trial in the storage. One without an outcome that has ended was interrupted, stopped, or never started.
NUMBER, STARTED, OUTCOME, STOPPED = "number", "started", "outcome", "stopped"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Progress(Protocol):
    """Who is told what happens, for a person to see."""

    def resumed(self, trials: Sequence[TrialResult]) -> None: ...
    def began(self, task: Task) -> None: ...
    def epoch(self, number: int, entry: Mapping[str, float]) -> None: ...
    def ended(self, trial: TrialResult) -> None: ...
    def say(self, line: str) -> None: ...
    def batches(self, number: int) -> Callback | None: ...


class NoProgress:
    """Shows nothing."""

    def resumed(self, trials: Sequence[TrialResult]) -> None: ...
    def began(self, task: Task) -> None: ...
    def epoch(self, number: int, entry: Mapping[str, float]) -> None: ...
    def ended(self, trial: TrialResult) -> None: ...
    def say(self, line: str) -> None: ...
    def batches(self, number: int) -> Callback | None: ...


@dataclass(frozen=True)
class Search:
    """A search to run.

    Attributes:
        params: budget, objective and space.
        defaults: value by knob of the space: trial 0.
        seed: of the proposals.
        storage: keeps the study.
        name: of the study in it.
    """

    params: TuneParams
    defaults: Mapping[str, Value]
    seed: int
    storage: BaseStorage
    name: str

    def run(self, executor: Executor, progress: Progress, record: Callable[[TrialResult], None]) -> list[TrialResult]:
        """Run trials until the budget is used up; a study found in the storage is continued.

        Trials are proposed in batches of as many as the executor has workers. What a batch proposes depends on the seed, the
        number of the trial and the trials of earlier batches, and on nothing else; so a study that was interrupted goes on
        as it would have.

        Args:
            executor: runs a batch.
            progress: is told what happens.
            record: is given each finished trial, once it is kept; and again when the study is continued.

        Returns:
            The trials within the budget, in order.

        Raises:
            HeadwayError: every trial failed, or another process runs this study.
        """
        study = self._open()
        self._settle(study)
        finished = results(study)
        for trial in finished:
            record(trial)
        progress.resumed(finished)
        while numbers := self._open_numbers(finished, executor.workers):
            spent = spent_seconds(finished, self.params, executor.workers)
            if finished and spent > 60 * self.params.timeout_minutes:
                progress.say(
                    f"the search stops after {len(finished)} of {self.params.trials} trials: "
                    f"{self.params.timeout_minutes:g} minutes are over"
                )
                break
            tasks = self._tasks(study, finished, numbers, executor.workers)
            if not tasks:
                progress.say(f"the search stops after {len(finished)} trials: every point of the space has been tried")
                break
            self._run_batch(study, tasks, executor, progress, record)
            finished = results(study)
        finished = counted(finished, self.params, executor.workers)
        if not any(trial.state == "complete" for trial in finished):
            reasons = sorted({trial.reason for trial in finished if trial.reason})
            raise HeadwayError(
                f"no trial of {len(finished)} could be completed: {'; '.join(reasons)}; change what they name, in tune.space or "
                "above it, or try the same again with another seed"
            )
        return finished

    def _open(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(
            storage=self.storage, study_name=self.name, directions=self._directions, load_if_exists=True
        )

    @property
    def _directions(self) -> list[Literal["maximize", "minimize"]]:
        goals = [goal for goal in (objective(self.params), second_objective(self.params)) if goal]
        return ["maximize" if goal.maximise else "minimize" for goal in goals]

    def _open_numbers(self, finished: Sequence[TrialResult], workers: int) -> list[int]:
        """Numbers of the first batch that is not finished; none when the budget of trials is used up or the target reached."""
        known = {trial.number for trial in finished}
        first = next(number for number in range(len(known) + 1) if number not in known)
        start = first - first % workers
        if reaches_target([trial for trial in finished if trial.number < start], self.params):
            return []
        return [number for number in range(start, min(start + workers, self.params.trials)) if number not in known]

    def _tasks(
        self, study: optuna.Study, finished: Sequence[TrialResult], numbers: Sequence[int], workers: int
    ) -> list[Task]:
        """What to run for these numbers of one batch; fewer, or none, when the space has no more points."""
        start = numbers[0] - numbers[0] % workers
        earlier = [trial for trial in finished if trial.number < start]
        history = [self._past(trial) for trial in earlier if trial.state != "failed"]
        before = {trial.number: trial.point for trial in finished}
        attempts = {trial.user_attrs[NUMBER]: trial.params for trial in study.get_trials(deepcopy=False)}
        bounds = limits(earlier, self.params)
        tasks = []
        batch: list[Mapping[str, Any]] = []
        for number in range(start, numbers[-1] + 1):
            point: Mapping[str, Any] | None = before.get(number, attempts.get(number))
            if point is None and number == 0:
                point = active_subset(self.params.space, self.defaults)
            if point is None:
                tried = [*(trial.point for trial in earlier), *batch]
                seed = Random(f"{self.seed} {number}").getrandbits(32)  # no trial of another seed has it
                point = propose(self.params.space, self._directions, seed, history, batch, tried)
            if point is None:
                break
            batch.append(point)
            if number in numbers:
                tasks.append(Task(number, dict(point), bounds))
        return tasks

    def _past(self, trial: TrialResult) -> FrozenTrial:
        """A finished trial as the sampler looks at it; of a pruned one, how far it came and how well it did."""
        if trial.state == "complete":
            values = [value for value in (trial.score, trial.second) if value is not None]
            return past(self.params.space, trial.point, TrialState.COMPLETE, values=values)
        entry = objective(self.params).entry
        seen = {int(epoch["epoch"]): epoch[entry] for epoch in trial.curve}
        return past(self.params.space, trial.point, TrialState.PRUNED, intermediate_values=seen)

    def _run_batch(
        self,
        study: optuna.Study,
        tasks: list[Task],
        executor: Executor,
        progress: Progress,
        record: Callable[[TrialResult], None],
    ) -> None:
        """Run tasks to some end each; one whose worker was lost is run once more."""
        while tasks:
            running: list[FrozenTrial] = []
            again: list[Task] = []

            def done(
                position: int,
                outcome: Outcome | WorkerLost,
                tasks: list[Task] = tasks,
                running: list[FrozenTrial] = running,
                again: list[Task] = again,
            ) -> None:
                if not isinstance(outcome, WorkerLost):
                    self._conclude(running[position], outcome)
                elif not self._set_aside(study, running[position], "its worker died"):
                    progress.say(f"trial {tasks[position].number}: {outcome}; it is run once more")
                    again.append(tasks[position])
                    return
                trial = next(trial for trial in results(study) if trial.number == tasks[position].number)
                record(trial)
                progress.ended(trial)

            def started(position: int, running: list[FrozenTrial] = running) -> None:
                self.storage.set_trial_user_attr(running[position]._trial_id, STARTED, True)

            def watch(position: int, entry: dict[str, float], tasks: list[Task] = tasks) -> None:
                progress.epoch(tasks[position].number, entry)

            try:
                for task in tasks:
                    running.append(self._begin(study, task))
                self._require_alone(study, running)
                for task in tasks:
                    progress.began(task)
                with heartbeats(self.storage, [trial._trial_id for trial in running]):
                    executor.run(tasks, started, done, watch)
            except BaseException as error:
                # Whatever ends the search from outside says nothing about the trials: they start anew, and it does not count.
                mine = {trial._trial_id for trial in running}
                for trial in _running(study):
                    if trial._trial_id in mine:
                        with suppress(UpdateFinishedTrialError):  # another process has just ended it
                            self.storage.set_trial_user_attr(trial._trial_id, STOPPED, True)
                            self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                if isinstance(error, UpdateFinishedTrialError):
                    raise HeadwayError(
                        "another process has taken this search over; wait until it is done, or end it"
                    ) from None
                raise
            tasks = again

    def _begin(self, study: optuna.Study, task: Task) -> FrozenTrial:
        """Keep, in one write, that a trial runs."""
        begun = past(self.params.space, task.point, TrialState.RUNNING, user_attrs={NUMBER: task.number})
        return self.storage.get_trial(self.storage.create_new_trial(study._study_id, template_trial=begun))

    def _require_alone(self, study: optuna.Study, running: Sequence[FrozenTrial]) -> None:
        """Of two processes that began a batch at the same time, the one whose trial came first goes on."""
        first = min(trial._trial_id for trial in running)
        for trial in _running(study):
            if trial._trial_id < first:
                raise _run_elsewhere(trial)
        numbers = {trial.user_attrs[NUMBER] for trial in running}
        for trial in study.get_trials(deepcopy=False):
            if OUTCOME in trial.user_attrs and trial.user_attrs[NUMBER] in numbers:
                raise _run_elsewhere(trial)  # it has finished the batch since this process looked

    def _conclude(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Keep an outcome. The first write holds all of it: a kill after that one costs nothing."""
        self.storage.set_trial_user_attr(trial._trial_id, OUTCOME, asdict(outcome))
        if len(self._directions) == 1:  # Optuna has no intermediate values of two objectives
            for entry in outcome.curve:  # a step is a whole number: 0 is the middle of the first epoch
                value = entry[objective(self.params).entry]
                self.storage.set_trial_intermediate_value(trial._trial_id, int(entry["epoch"]), value)
        self.storage.set_trial_state_values(trial._trial_id, STATES[outcome.state], list(outcome.values) or None)

    def _settle(self, study: optuna.Study) -> None:
        """Bring what a kill left running to an end."""
        for trial in _running(study):
            if is_beating(self.storage, trial._trial_id):
                raise _run_elsewhere(trial)
            with suppress(UpdateFinishedTrialError):  # another process that begins now has just done the same
                if OUTCOME in trial.user_attrs:
                    self._conclude(trial, _outcome(trial))
                else:
                    self._set_aside(study, trial, "its process was killed, by the system if memory was short")

    def _set_aside(self, study: optuna.Study, trial: FrozenTrial, reason: str) -> bool:
        """End an interrupted trial: its point is tried once more; the second time it has failed, and True is returned.

        One that waited for a worker when the search was killed had no part in that, and is tried as if it had not begun.
        """
        earlier = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if other.user_attrs[NUMBER] == trial.user_attrs[NUMBER] and _was_interrupted(other)
        ]
        if earlier and STARTED in self.storage.get_trial(trial._trial_id).user_attrs:
            self._conclude(trial, Outcome("failed", reason=f"interrupted twice: {reason}"))
            return True
        self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return False


def results(study: optuna.Study) -> list[TrialResult]:
    """The finished trials by number, attempts that were interrupted left out."""
    ended = [
        trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished() and OUTCOME in trial.user_attrs
    ]
    found = []
    for trial in sorted(ended, key=lambda trial: int(trial.user_attrs[NUMBER])):
        outcome = _outcome(trial)
        found.append(
            TrialResult(
                number=trial.user_attrs[NUMBER],
                state=outcome.state,
                score=outcome.values[0] if outcome.values else None,
                second=outcome.values[1] if len(outcome.values) > 1 else None,
                point=dict(trial.params),
                curve=list(outcome.curve),
                reason=outcome.reason,
                tokens=outcome.tokens,
                seconds=outcome.seconds,
            )
        )
    return found


def spent_seconds(trials: Sequence[TrialResult], params: TuneParams, workers: int) -> float:
    """What the trials took: one after another, or of a batch that ran at the same time the longest."""
    if params.executor == "serial":
        return sum(trial.seconds for trial in trials)
    longest: dict[int, float] = {}
    for trial in trials:
        batch = trial.number // workers
        longest[batch] = max(longest.get(batch, 0.0), trial.seconds)
    return sum(longest.values())


def _was_interrupted(attempt: FrozenTrial) -> bool:
    return STARTED in attempt.user_attrs and not {OUTCOME, STOPPED} & attempt.user_attrs.keys()


def _running(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def _run_elsewhere(trial: FrozenTrial) -> HeadwayError:
    number = trial.user_attrs[NUMBER]
    return HeadwayError(f"another process runs this search (trial {number}); wait until it is done, or end it")


def _outcome(trial: FrozenTrial) -> Outcome:
    kept = trial.user_attrs[OUTCOME]
    return Outcome(**{**kept, "values": tuple(kept["values"]), "curve": tuple(kept["curve"])})
