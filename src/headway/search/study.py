"""The search: proposes trials in batches, has an executor run them, and continues a study that was interrupted.

It knows nothing of models, of MLflow or of where trials run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from headway.search.noise import LEVEL, REPEATS
from headway.search.pruning import limits
from headway.search.results import FinishedSearch, TrialResult, best, completed, score_of, spent_seconds
from headway.search.space import frozen_trial, propose
from headway.search.storage import fail_abandoned_trials, heartbeats
from headway.search.trial import Outcome, Progress, Task


@dataclass(frozen=True)
class Search:
    """A search to run.

    Attributes:
        defaults: hyperparameters of trial 0, by dotted path.
        name: of the study in the storage.
        may_stop_early: whether the search may end because no trial differs from the defaults by more than noise.
    """

    params: TuneParams
    defaults: Mapping[str, Value]
    seed: int
    storage: BaseStorage
    name: str
    may_stop_early: bool = True

    def run(
        self, executor: Executor[Task, Outcome], progress: Progress, record: Callable[[TrialResult], None]
    ) -> FinishedSearch:
        """Run trials until the budget is used up. A study that is in the storage already is continued.

        A batch has as many trials as the executor has workers. Its proposals depend on the seed, the numbers of its trials and
        the results of earlier batches, and on nothing else. So an interrupted study continues as it would have.

        Args:
            record: called with each finished trial after it is stored, and with all stored trials when a study is continued.

        Returns:
            The trials within the budget.

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
        search = self._finished(finished).within_budget(executor.workers)
        if search.stops_early:
            progress.message(
                f"the search stops after {len(search.trials)} of {self.params.trials} trials: none of them differs from the "
                "defaults by more than noise"
            )
        if not completed(search.trials):
            reasons = "; ".join(sorted({trial.reason for trial in search.trials if trial.reason}))
            raise HeadwayError(
                f"none of {len(search.trials)} trials completed: {reasons}; change the named values in params.yaml, or the seed"
            )
        return search

    def repeat_best(
        self,
        search: FinishedSearch,
        executor: Executor[Task, Outcome],
        progress: Progress,
        record: Callable[[TrialResult], None],
    ) -> list[TrialResult]:
        """Train the best trial and trial 0 again with other seeds, if the validation rows alone do not explain its gain.

        Ends when the best trial is no better than trial 0 with the new seeds, or at the time limit of the search.

        Returns:
            The new results, under the numbers of the trials that they repeat; none if there was nothing to find out.
        """
        trials, noise = search.trials, search.noise
        leader = best(trials, self.params)
        if leader.number == 0 or noise is None or noise.p_value is None or noise.p_value > LEVEL:
            return []
        points = {trial.number: trial.point for trial in trials}
        attempts = Attempts.open(self.storage, f"{self.name} repeats", self.params)
        fail_abandoned_trials(attempts.study)
        found: list[TrialResult] = []
        for repeat in range(1, REPEATS + 1):
            # A number of its own for each repetition of each trial, in a study of its own.
            numbers = {number * REPEATS + repeat - 1: number for number in (0, leader.number)}
            known = {trial.number for trial in attempts.results()}
            tasks = [Task(own, points[number], repeat=repeat) for own, number in numbers.items() if own not in known]
            seconds = spent_seconds(trials, self.params, executor.workers) + sum(trial.seconds for trial in found)
            if tasks and seconds > 60 * self.params.timeout_minutes:
                progress.message(
                    f"trials 0 and {leader.number} are not trained again with another seed: the limit of "
                    f"{self.params.timeout_minutes:g} minutes is reached"
                )
                break
            if tasks:
                progress.message(f"trials 0 and {leader.number} again, with another seed ({repeat} of at most {REPEATS})")
            for start in range(0, len(tasks), executor.workers):
                batch = tasks[start : start + executor.workers]
                while batch:
                    batch = Batch(attempts, batch, Progress(), lambda _: None).run(executor)
            new = [
                replace(trial, number=numbers[trial.number], repeat=repeat)
                for trial in attempts.results()
                if trial.number in numbers
            ]
            for trial in new:
                record(trial)
                ended = trial.reason if trial.score is None else f"{trial.score:.4f}"
                progress.message(f"trial {trial.number} with another seed: {ended}")
            found += new
            if any(trial.state != "complete" for trial in found) or self._mean_gain(found) <= 0:
                break
        return found

    def _finished(self, trials: Sequence[TrialResult]) -> FinishedSearch:
        return FinishedSearch(trials, self.params, self.may_stop_early)

    def _mean_gain(self, repeats: Sequence[TrialResult]) -> float:
        """How much better the repeated trial is than trial 0, on average."""
        scores = [[score_of(trial) for trial in repeats if (trial.number == 0) == first] for first in (False, True)]
        return objective(self.params).gain(*(sum(some) / len(some) for some in scores))

    def _open_numbers(self, finished: Sequence[TrialResult], workers: int) -> list[int]:
        """Numbers of the unfinished trials in the first incomplete batch; none if the budget or the target is reached."""
        known = {trial.number for trial in finished}
        first = next(number for number in range(len(known) + 1) if number not in known)
        start = first - first % workers
        before = self._finished([trial for trial in finished if trial.number < start])
        if before.has_reached_target or before.stops_early:
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
        curve = {int(entry["step"]): entry[objective(self.params).entry] for entry in trial.curve}
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
        self.progress.evaluated(self.tasks[position].number, report)

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
