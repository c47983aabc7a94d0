"""The search with formulas as objectives: what it tries, when it stops, and how it handles failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from headway.errors import HeadwayError, Unreachable
from headway.executors import Listener, Serial, WorkerLost
from headway.params import TuneParams
from headway.ranges import Choices, FloatRange, IntRange
from headway.search.attempts import INTERRUPTED_TWICE, NUMBER, OUTCOME, STOPPED, Attempts
from headway.search.noise import RowNoise, row_noise
from headway.search.results import FinishedSearch, TrialResult, best, summary
from headway.search.storage import fail_abandoned_trials, open_storage
from headway.search.study import Search
from headway.search.trial import Outcome, Task, encode_rows
from tests.search.conftest import DEFAULTS, SPACE, Shown, accuracy, climb, ignore, never, study, tune_params, work_with

# What is tried.


def test_trial_0_is_the_defaults_and_the_budget_is_used_up(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=6, pruning=False)
    assert [trial.number for trial in trials] == list(range(6))
    assert trials[0].point == DEFAULTS
    assert trials[0].score == accuracy(DEFAULTS)
    assert [entry["joint_validation_accuracy"] for entry in trials[0].curve] == [
        accuracy(DEFAULTS) - 0.05,
        accuracy(DEFAULTS),
    ]
    assert len({tuple(trial.point.values()) for trial in trials}) == 6


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (study(tmp_path / f"{name}.log", seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)])
    assert first == again
    assert first[0].point == other[0].point
    assert not [trial for trial in first[1:] if trial.point in [that.point for that in other[1:]]]


def test_a_batch_depends_on_earlier_batches_alone(tmp_path: Path) -> None:
    """Trials of a batch end in any order; the next proposals must not depend on it."""

    class Backwards:
        workers = 3

        def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
            work = work_with(climb, tune_params())
            for position, task in reversed(list(enumerate(tasks))):
                listener.ended(position, work(None, task, None))

    params = tune_params(trials=10, workers=3)
    backwards = (
        Search(params, DEFAULTS, 1, open_storage("", tmp_path / "a.log"), "test").run(Backwards(), Shown(), ignore).trials
    )
    assert backwards == study(tmp_path / "b.log", trials=10, workers=3)
    alone = study(tmp_path / "c.log", trials=10)
    assert [trial.point for trial in alone[4:]] != [trial.point for trial in backwards[4:]]


def test_the_search_finds_better_points_than_the_defaults(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=15)
    winner = best(trials, tune_params())
    assert winner.score is not None
    assert winner.score > accuracy(DEFAULTS) + 0.1


def test_an_empty_space_tries_the_defaults_and_stops(tmp_path: Path) -> None:
    shown = Shown()
    (trial,) = study(tmp_path / "journal.log", shown=shown, space={}, trials=3)
    assert (trial.point, trial.score) == ({}, accuracy({}))
    assert shown.lines[-1] == "the search stops after 1 trials: every point of the space has been tried"


@pytest.mark.parametrize("workers", [1, 4])
def test_every_point_of_a_finite_space_is_tried_once_and_then_the_search_stops(tmp_path: Path, workers: int) -> None:
    space = {
        "model.n_layers": IntRange(type="int", low=1, high=3),
        "model.similarity": Choices(type="categorical", choices=["inner_product", "cosine"]),
        "model.n_heads": Choices(type="categorical", choices=[1, 2], when={"model.n_layers": [2]}),
    }
    shown = Shown()
    defaults = {"model.n_layers": 1, "model.similarity": "cosine", "model.n_heads": 2}
    trials = study(
        tmp_path / "journal.log", shown=shown, space=space, trials=50, defaults=defaults, pruning=False, workers=workers
    )
    assert len(trials) == 8
    assert len({frozenset(trial.point.items()) for trial in trials}) == 8
    assert shown.lines[-1].startswith("the search stops after 8 trials: every point")
    assert study(tmp_path / "journal.log", never, space=space, trials=50, defaults=defaults, workers=workers) == trials


# When it stops.


def test_no_trial_starts_after_the_time_limit(tmp_path: Path) -> None:
    def slow(shared: Any, task: Task, report: Any) -> Outcome:
        return Outcome("complete", (0.5,), seconds=40.0)

    shown = Shown()
    trials = study(tmp_path / "journal.log", work=slow, shown=shown, timeout_minutes=1.0)
    assert [trial.number for trial in trials] == [0, 1]
    assert shown.lines[-1] == "the search stops after 2 of 8 trials: the limit of 1 minutes is reached"
    assert study(tmp_path / "journal.log", never, timeout_minutes=1.0) == trials  # nor when it is started again


def test_the_longest_of_parallel_trials_counts_towards_the_time_limit(tmp_path: Path) -> None:
    def slow(shared: Any, task: Task, report: Any) -> Outcome:
        return Outcome("complete", (0.5,), seconds=40.0)

    trials = study(tmp_path / "journal.log", work=slow, timeout_minutes=1.0, workers=2, executor="processes")
    assert [trial.number for trial in trials] == [0, 1, 2, 3]


def test_the_search_stops_at_its_target(tmp_path: Path) -> None:
    def rising(number: int, point: Any) -> list[float]:
        return [0.5 + number / 100]

    trials = study(tmp_path / "a.log", rising, target=0.52)
    assert [trial.number for trial in trials] == [0, 1, 2]
    in_pairs = study(tmp_path / "b.log", rising, target=0.52, workers=2)
    assert [trial.number for trial in in_pairs] == [0, 1, 2, 3]
    # The smaller, the better.
    losses = study(tmp_path / "c.log", rising, target=0.48, objective="negative_log_likelihood")
    assert [trial.number for trial in losses] == [0, 1, 2]


def test_the_search_stops_when_no_trial_differs_from_the_defaults_and_says_so(tmp_path: Path) -> None:
    """As on rows that are too few, or with trainings that learn nothing."""
    shown = Shown()
    trials = study(tmp_path / "journal.log", work=by_rows({}), shown=shown, trials=8)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert shown.lines[-1] == (
        "the search stops after 4 of 8 trials: none of them differs from the defaults by more than noise"
    )
    assert study(tmp_path / "journal.log", never, trials=8) == trials
    search = Search(tune_params(trials=8), DEFAULTS, 1, open_storage("", tmp_path / "all.log"), "test", may_stop_early=False)
    assert len(search.run(Serial(by_rows({}), None, 1), Shown(), ignore).trials) == 8
    in_pairs = study(tmp_path / "pairs.log", work=by_rows({}), trials=8, workers=3)
    assert [trial.number for trial in in_pairs] == [0, 1, 2, 3, 4, 5]


# What is trained again.


def by_rows(right: Mapping[int, float], again: Mapping[int, Sequence[float]] | None = None, begun: Any = None) -> Any:
    """A trial that is right on the first rows of 200: the share that is given for its number, else of 0.8.

    Args:
        again: shares with other seeds, by the number of the first trial with that point.
        begun: list that gets the number of each repetition that runs.
    """
    points: dict[tuple[Any, ...], int] = {}

    def work(shared: Any, task: Task, report: Any) -> Outcome:
        point = tuple(sorted(task.point.items()))
        number = points.setdefault(point, task.number) if not task.repeat else points[point]
        share = (again or {})[number][task.repeat - 1] if task.repeat else right.get(number, 0.8)
        if task.repeat and begun is not None:
            begun.append(number)
        rows = (np.arange(200) < round(200 * share)).astype(float)
        entry = {
            "step": 10,
            "epoch": 1.0,
            "progress": 1.0,
            "joint_validation_accuracy": rows.mean(),
            "validation_loss_calibrated": 1.0,
        }
        return Outcome("complete", (float(rows.mean()),), (entry,), tokens=100, row_scores=encode_rows(rows))

    return work


def repeated(
    journal: Path, work: Any, trials: list[TrialResult], shown: Shown | None = None, **budget: Any
) -> list[TrialResult]:
    params = tune_params(trials=8, **budget)
    search = Search(params, DEFAULTS, 1, open_storage("", journal), "test")
    return search.repeat_best(FinishedSearch(trials, params), Serial(work, None, params.workers), shown or Shown(), ignore)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_trial_beyond_the_noise_of_rows_and_the_defaults_are_trained_again_with_other_seeds(
    tmp_path: Path, workers: int
) -> None:
    begun: list[int] = []
    work = by_rows({2: 0.95}, {0: [0.81, 0.79], 2: [0.92, 0.94]}, begun)
    trials = study(tmp_path / "journal.log", work=work, workers=workers)
    assert len(trials) == 8
    again = repeated(tmp_path / "journal.log", work, trials, workers=workers)
    assert [(trial.number, trial.repeat, trial.score) for trial in again] == [
        (0, 1, 0.81),
        (2, 1, 0.92),
        (0, 2, 0.79),
        (2, 2, 0.94),
    ]
    assert summary(FinishedSearch(trials, tune_params()), again).winner == 2
    # Killed after this, the search finds the repetitions again; and they are no trials of the search.
    assert repeated(tmp_path / "journal.log", never, trials, workers=workers) == again
    assert study(tmp_path / "journal.log", never, workers=workers) == trials
    assert begun == [0, 2, 0, 2]


def test_the_noise_of_the_rows_is_computed_once_for_the_finished_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, work = tune_params(trials=8), by_rows({2: 0.95}, {0: [0.81, 0.79], 2: [0.92, 0.94]})
    search = Search(params, DEFAULTS, 1, open_storage("", tmp_path / "journal.log"), "test")
    engine, counted = Serial(work, None, 1), list[int]()

    def count(trials: Sequence[TrialResult], params: TuneParams) -> RowNoise | None:
        counted.append(len(trials))
        return row_noise(trials, params)

    monkeypatch.setattr("headway.search.results.row_noise", count)
    finished = search.run(engine, Shown(), ignore)
    again = search.repeat_best(finished, engine, Shown(), ignore)
    assert summary(finished, again).winner == 2
    assert counted.count(8) == 1


def test_no_second_repetition_follows_one_that_showed_no_gain(tmp_path: Path) -> None:
    work = by_rows({2: 0.95}, {0: [0.81], 2: [0.80]})
    trials = study(tmp_path / "journal.log", work=work)
    again = repeated(tmp_path / "journal.log", work, trials)
    assert [trial.number for trial in again] == [0, 2]
    assert summary(FinishedSearch(trials, tune_params()), again).winner == 0


def test_nothing_is_trained_again_after_the_time_limit_and_a_longer_limit_continues(tmp_path: Path) -> None:
    work = by_rows({2: 0.95}, {0: [0.81, 0.79], 2: [0.92, 0.94]})
    trials = [replace(trial, seconds=20.0) for trial in study(tmp_path / "journal.log", work=work)]
    shown = Shown()
    assert repeated(tmp_path / "journal.log", never, trials, shown, timeout_minutes=2.0) == []
    assert shown.lines == ["trials 0 and 2 are not trained again with another seed: the limit of 2 minutes is reached"]
    shown = Shown()
    assert len(repeated(tmp_path / "journal.log", work, trials, shown, timeout_minutes=3.0)) == 4
    assert "trial 2 with another seed: 0.9200" in shown.lines


@pytest.mark.parametrize("right", [{}, {2: 0.81}, {0: 0.95}])
def test_nothing_is_trained_again_without_a_gain_beyond_the_noise_of_rows(tmp_path: Path, right: dict[int, float]) -> None:
    trials = study(tmp_path / "journal.log", work=by_rows(right))
    assert repeated(tmp_path / "journal.log", never, trials) == []


def test_a_study_with_a_used_up_budget_starts_no_trial(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=3)
    assert study(tmp_path / "journal.log", never, trials=3) == trials


@pytest.mark.parametrize("workers", [1, 3])
def test_a_larger_budget_continues_the_study(tmp_path: Path, workers: int) -> None:
    study(tmp_path / "a.log", trials=4, workers=workers)
    assert study(tmp_path / "a.log", trials=8, workers=workers) == study(tmp_path / "b.log", trials=8, workers=workers)


def test_a_smaller_budget_returns_only_its_own_trials_of_a_larger_study(tmp_path: Path) -> None:
    every = study(tmp_path / "journal.log", trials=8)
    assert study(tmp_path / "journal.log", never, trials=3) == every[:3]


def test_each_evaluation_is_reported_when_it_ends(tmp_path: Path) -> None:
    shown = Shown()
    study(tmp_path / "journal.log", shown=shown, trials=2, pruning=False)
    assert shown.steps == [(0, 10), (0, 20), (1, 10), (1, 20)]


# What goes wrong.


def test_a_failed_trial_is_recorded_with_its_reason_and_the_search_continues(tmp_path: Path) -> None:
    errors = {1: HeadwayError("training diverged: loss nan"), 3: MemoryError()}

    def scores(number: int, point: Any) -> list[float]:
        if number in errors:
            raise errors[number]
        return [0.5]

    trials = study(tmp_path / "journal.log", scores, trials=5)
    assert [trial.state for trial in trials] == ["complete", "failed", "complete", "failed", "complete"]
    assert [trial.reason for trial in trials] == ["", "training diverged: loss nan", "", "MemoryError", ""]
    assert all(trial.score is None and trial.point for trial in trials if trial.reason)
    assert study(tmp_path / "journal.log", never, trials=5) == trials  # a failed trial is not run again


def test_if_every_trial_fails_one_error_gives_all_reasons(tmp_path: Path) -> None:
    def scores(number: int, point: Any) -> list[float]:
        raise HeadwayError("out of memory" if number else "training diverged")

    with pytest.raises(
        HeadwayError, match=r"^none of 3 trials completed: out of memory; training diverged; change the named values "
    ):
        study(tmp_path / "journal.log", scores, trials=3)


def test_a_trial_is_stored_before_it_is_recorded_and_recorded_again_if_that_failed(tmp_path: Path) -> None:
    """If the server that records does not answer, the trial is not lost, and the next run records it."""

    def away(trial: TrialResult) -> None:
        if trial.number == 1:
            raise Unreachable("MLflow does not answer")

    with pytest.raises(Unreachable, match=r"^MLflow does not answer$"):
        study(tmp_path / "journal.log", record=away, trials=4)
    recorded: list[int] = []
    trials = study(tmp_path / "journal.log", record=lambda trial: recorded.append(trial.number), trials=4)
    assert recorded == [0, 1, 2, 3]
    assert trials == study(tmp_path / "uninterrupted.log", trials=4)


def test_ctrl_c_however_often_fails_no_trial(tmp_path: Path) -> None:
    def interrupted(number: int, point: Any) -> list[float]:
        if number == 1:
            raise KeyboardInterrupt
        return climb(number, point)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path / "journal.log", interrupted)
    assert study(tmp_path / "journal.log") == study(tmp_path / "uninterrupted.log")


def test_a_bug_is_raised_instead_of_failing_the_trial(tmp_path: Path) -> None:
    def scores(number: int, point: Any) -> list[float]:
        raise KeyError("no such knob")

    with pytest.raises(KeyError):
        study(tmp_path / "journal.log", scores)
    assert study(tmp_path / "journal.log") == study(tmp_path / "uninterrupted.log")


class Mortal:
    """Two workers. The one that runs a certain trial dies, a given number of times."""

    workers = 2

    def __init__(self, number: int, deaths: int) -> None:
        self.number, self.deaths = number, deaths
        self.work = work_with(climb, tune_params())

    def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
        for position, task in enumerate(tasks):
            listener.started(position)
            if task.number == self.number and self.deaths:
                self.deaths -= 1
                listener.ended(position, WorkerLost("the worker was killed"))
            else:
                listener.ended(position, self.work(None, task, None))


def test_a_trial_whose_worker_died_is_run_once_more(tmp_path: Path) -> None:
    params = tune_params(trials=6, workers=2)
    shown = Shown()
    trials = (
        Search(params, DEFAULTS, 1, open_storage("", tmp_path / "a.log"), "test").run(Mortal(3, 1), shown, ignore).trials
    )
    assert trials == study(tmp_path / "b.log", trials=6, workers=2)
    assert "trial 3: the worker was killed; running it once more" in shown.lines


def test_a_trial_whose_worker_died_twice_has_failed(tmp_path: Path) -> None:
    params = tune_params(trials=6, workers=2)
    trials = (
        Search(params, DEFAULTS, 1, open_storage("", tmp_path / "a.log"), "test").run(Mortal(3, 2), Shown(), ignore).trials
    )
    assert [trial.state for trial in trials].count("failed") == 1
    assert trials[3].reason == INTERRUPTED_TWICE  # the same for every worker, so that outs do not differ


# Another process works on the same study.


class Another:
    """Another process that works on the same study, and a search that meets it."""

    def __init__(self, journal: Path) -> None:
        self.storage = open_storage("", journal)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.storage.get_study_id_from_name("test"))

    def begin(self) -> None:
        begun = create_trial(state=TrialState.RUNNING, user_attrs={NUMBER: 7})
        self.storage.create_new_trial(self.storage.get_study_id_from_name("test"), template_trial=begun)

    def finish(self, number: int) -> None:
        kept = {NUMBER: number, OUTCOME: asdict(Outcome("failed", reason="no memory"))}
        ended = create_trial(state=TrialState.FAIL, user_attrs=kept)
        self.storage.create_new_trial(self.storage.get_study_id_from_name("test"), template_trial=ended)

    def end(self, number: int) -> None:
        (trial,) = [trial for trial in self.trials if trial.user_attrs[NUMBER] == number]
        self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def search(self, scores: Any, shown: Shown | None = None) -> None:
        params = tune_params()
        Search(params, DEFAULTS, 1, self.storage, "test").run(
            Serial(work_with(scores, params), None, 1), shown or Shown(), ignore
        )


def test_a_search_that_is_ended_does_not_touch_the_trials_of_another_process(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    def scores(number: int, point: Any) -> list[float]:
        another.begin()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        another.search(scores)
    assert [trial.state for trial in another.trials] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_search_stops_if_another_process_has_ended_its_trial(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    def scores(number: int, point: Any) -> list[float]:
        another.end(number)
        return climb(number, point)

    with pytest.raises(HeadwayError, match=r"^another process has taken this search over; "):
        another.search(scores)


def test_a_trial_that_another_process_fails_first_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that start after a kill find the same trial running."""
    another = Another(tmp_path / "journal.log")
    attempts = Attempts.open(another.storage, "test", tune_params())
    another.begin()
    (seen,) = another.trials
    another.end(7)
    monkeypatch.setattr(attempts.study, "get_trials", lambda deepcopy, states: [seen])
    fail_abandoned_trials(attempts.study)
    assert [trial.state for trial in another.trials] == [TrialState.FAIL]


def test_an_outcome_counts_though_a_kill_came_before_the_state_was_written(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")
    attempts = Attempts.open(another.storage, "test", tune_params())
    trial_id = attempts.begin(Task(0, DEFAULTS))
    another.storage.set_trial_user_attr(trial_id, OUTCOME, asdict(Outcome("complete", (0.5,))))
    shown = Shown()
    another.search(climb, shown)
    assert [(trial.number, trial.score) for trial in shown.found] == [(0, 0.5)]


def test_a_search_stops_if_a_worker_dies_with_a_trial_that_another_process_has_ended(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    class Dying(Mortal):
        def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
            another.end(tasks[0].number)
            listener.ended(0, WorkerLost("the worker was killed"))

    with pytest.raises(HeadwayError, match=r"^another process has taken this search over; "):
        Search(tune_params(), DEFAULTS, 1, another.storage, "test").run(Dying(0, 1), Shown(), ignore)


def test_of_two_processes_that_start_at_once_the_later_one_stops(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    class Late(Shown):
        def resumed(self, trials: Any) -> None:
            another.begin()

    with pytest.raises(HeadwayError, match=r"^another process runs this search \(trial 7\); "):
        another.search(never, Late())
    theirs, mine = another.trials
    assert (theirs.state, mine.state) == (TrialState.RUNNING, TrialState.FAIL)
    assert STOPPED in mine.user_attrs  # its attempt does not count


def test_a_trial_that_another_process_has_just_finished_is_not_run_again(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    class Late(Shown):
        def resumed(self, trials: Any) -> None:
            another.finish(0)

    with pytest.raises(HeadwayError, match=r"^another process runs this search \(trial 0\); "):
        another.search(never, Late())
    theirs, mine = another.trials
    assert OUTCOME in theirs.user_attrs
    assert STOPPED in mine.user_attrs
    assert OUTCOME not in mine.user_attrs


# Other objectives.


def test_with_two_objectives_nothing_is_pruned_and_both_values_are_stored(tmp_path: Path) -> None:
    params = tune_params(trials=9, second_objective="size")
    work = work_with(climb, params, second=lambda point: float(point["model.n_layers"]))
    trials = study(tmp_path / "a.log", work=work, trials=9, second_objective="size")
    assert {trial.state for trial in trials} == {"complete"}
    assert all(trial.second == trial.point["model.n_layers"] for trial in trials)
    assert trials == study(tmp_path / "b.log", work=work, trials=9, second_objective="size")


def test_a_smaller_loss_is_better(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", objective="negative_log_likelihood", trials=15, pruning=False)
    winner = best(trials, tune_params(objective="negative_log_likelihood"))
    scores = [trial.score for trial in trials if trial.score is not None]
    assert winner.score == min(scores) < 1 - accuracy(DEFAULTS) - 0.1


def test_a_hyperparameter_is_active_only_where_its_condition_holds(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "training.gradient_clip_val": FloatRange(
            type="float", low=0.5, high=2.0, when={"model.similarity": ["cosine"], "model.n_layers": [1, 3, 5]}
        ),
    }
    trials = study(
        tmp_path / "journal.log",
        space=space,
        trials=25,
        defaults={**DEFAULTS, "training.gradient_clip_val": 1.0},
        pruning=False,
    )
    active = ["training.gradient_clip_val" in trial.point for trial in trials]
    assert active == [
        trial.point["model.similarity"] == "cosine" and trial.point["model.n_layers"] in (1, 3, 5) for trial in trials
    ]
    assert {True, False} == set(active)
