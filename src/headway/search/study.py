"""The search: proposes trials in batches, has an executor run them, and continues a study that was interrupted.

It knows nothing of models, of MLflow or of where trials run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from headway.errors import HeadwayError
from headway.executors import Executor, WorkerLost
from headway.params import TuneParams
from headway.ranges import Value, active_point
from headway.search.attempts import Attempts, directions
from headway.search.goals import objective
from headway.search.pruning import limits
from headway.search.results import TrialResult, completed, reaches_target, spent_seconds, within_budget
from headway.search.space import frozen_trial, propose
from headway.search.storage import fail_abandoned_trials, heartbeats
from headway.search.trial import Outcome, Progress, Task


@dataclass(frozen=True)
class Search:
    """A search to run.

    Attributes:
        defaults: hyperparameters of trial 0, by dotted path.
        name: of the study in the storage.
    """

    params: TuneParams
    defaults: Mapping[str, Value]
    seed: int
    storage: BaseStorage
    name: str

    def run(
        self, executor: Executor[Task, Outcome], progress: Progress, record: Callable[[TrialResult], None]
    ) -> list[TrialResult]:
        """Run trials until the budget is used up. A study that is in the storage already is continued.

        A batch has as many trials as the executor has workers. Its proposals depend on the seed, the numbers of its trials and
        the results of earlier batches, and on nothing else. So an interrupted study continues as it would have.

        Args:
            record: called with each finished trial after it is stored, and with all stored trials when a study is continued.

        Returns:
            The trials within the budget, by number.

        Raises:
            HeadwayError: every trial failed, or another process runs this study.
        """
        attempts = Attempts.open(self.storage, self.name, self.params)
        fail_abandoned_trials(attempts.study)
        finished = attempts.results()
        for trial in finished:
            record(trial)
        progress.resumed(finished)
        while numbers := self._open_numbers(finished, executor.workers):
            if finished and spent_seconds(finished, self.params, executor.workers) > 60 * self.params.timeout_minutes:
                progress.message(
                    f"the search stops after {len(finished)} of {self.params.trials} trials: the limit of "
                    f"{self.params.timeout_minutes:g} minutes is reached"
                )
                break
            tasks = self._propose_batch(attempts, finished, numbers, executor.workers)
            if not tasks:
                progress.message(f"the search stops after {len(finished)} trials: every point of the space has been tried")
                break
            while tasks:  # tasks of lost workers run once more
                tasks = Batch(attempts, tasks, progress, record).run(executor)
            finished = attempts.results()
        finished = within_budget(finished, self.params, executor.workers)
        if not completed(finished):
            reasons = "; ".join(sorted({trial.reason for trial in finished if trial.reason}))
            raise HeadwayError(
                f"none of {len(finished)} trials completed: {reasons}; change the named values in params.yaml, or the seed"
            )
        return finished

    def _open_numbers(self, finished: Sequence[TrialResult], workers: int) -> list[int]:
        """Numbers of the unfinished trials in the first incomplete batch; none if the budget or the target is reached."""
        known = {trial.number for trial in finished}
        first = next(number for number in range(len(known) + 1) if number not in known)
        start = first - first % workers
        if reaches_target([trial for trial in finished if trial.number < start], self.params):
            return []
        return [number for number in range(start, min(start + workers, self.params.trials)) if number not in known]

    def _propose_batch(
        self, attempts: Attempts, finished: Sequence[TrialResult], numbers: Sequence[int], workers: int
    ) -> list[Task]:
        """Tasks for these numbers of one batch; fewer, or none, if every point of the space has been tried."""
        space = self.params.space
        start = numbers[0] - numbers[0] % workers
        earlier = [trial for trial in finished if trial.number < start]
        history = [self._frozen(trial) for trial in earlier if trial.state != "failed"]
        begun = attempts.points()
        bounds = limits(earlier, self.params)
        batch: dict[int, dict[str, Any]] = {}
        for number in range(start, numbers[-1] + 1):
            point = begun.get(number)
            if point is None and number == 0:
                point = active_point(space, self.defaults.__getitem__)
            if point is None:
                pending = list(batch.values())
                tried = [*(trial.point for trial in earlier), *pending]
                seed = Random(f"{self.seed} {number}").getrandbits(32)  # differs from every trial of another seed
                point = propose(space, directions(self.params), seed, history, pending, tried)
            if point is None:
                break
            batch[number] = dict(point)
        return [Task(number, batch[number], bounds) for number in numbers if number in batch]

    def _frozen(self, trial: TrialResult) -> FrozenTrial:
        """A finished trial for Optuna's sampler: its values or, if it was pruned, its curve."""
        if trial.state == "complete":
            values = [value for value in (trial.score, trial.second) if value is not None]
            return frozen_trial(self.params.space, trial.point, TrialState.COMPLETE, values=values)
        curve = {int(entry["epoch"]): entry[objective(self.params).entry] for entry in trial.curve}
        return frozen_trial(self.params.space, trial.point, TrialState.PRUNED, intermediate_values=curve)


@dataclass
class Batch:
    """Tasks that run together. It listens to the executor and stores what happens to each task."""

    attempts: Attempts
    tasks: Sequence[Task]
    progress: Progress
    record: Callable[[TrialResult], None]
    ids: list[int] = field(default_factory=list)
    lost: list[Task] = field(default_factory=list)

    def run(self, executor: Executor[Task, Outcome]) -> list[Task]:
        """Run the tasks and return those to run again, because their workers died for the first time.

        Raises:
            HeadwayError: another process runs this study.
        """
        try:
            for task in self.tasks:
                self.ids.append(self.attempts.begin(task))
            self.attempts.require_alone(self.ids)
            for task in self.tasks:
                self.progress.began(task)
            with heartbeats(self.attempts.storage, self.ids):
                executor.run(self.tasks, self)
        except UpdateFinishedTrialError:
            self.attempts.stop(self.ids)
            raise HeadwayError("another process has taken this search over; wait until it is done, or end it") from None
        except BaseException:
            self.attempts.stop(self.ids)
            raise
        return self.lost

    def started(self, position: int) -> None:
        self.attempts.start(self.ids[position])

    def reported(self, position: int, report: Mapping[str, float]) -> None:
        self.progress.epoch(self.tasks[position].number, report)

    def ended(self, position: int, result: Outcome | WorkerLost) -> None:
        task = self.tasks[position]
        if isinstance(result, WorkerLost):
            self.attempts.interrupt(self.ids[position])
        else:
            self.attempts.finish(self.ids[position], result)
        trial = next((trial for trial in self.attempts.results() if trial.number == task.number), None)
        if trial is None:
            self.progress.message(f"trial {task.number}: {result}; running it once more")
            self.lost.append(task)
        else:
            self.record(trial)
            self.progress.ended(trial)
