"""The study with objectives that are formulas: what it tries, when it stops, and what it makes of failures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from headway.errors import HeadwayError, Unreachable
from headway.executors import Serial, WorkerLost
from headway.ranges import Choices, FloatRange, IntRange
from headway.search.results import TrialResult, best
from headway.search.storage import open_storage
from headway.search.study import NUMBER, OUTCOME, STOPPED, Search
from headway.search.trial import Outcome, Task
from tests.search.conftest import DEFAULTS, SPACE, Told, accuracy, climb, ignore, never, study, tune_params, work_with

# What is tried.


def test_the_first_trial_is_the_defaults_and_the_budget_of_trials_is_used_up(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=6, pruning=False)
    assert [trial.number for trial in trials] == list(range(6))
    assert trials[0].point == DEFAULTS
    assert trials[0].score == accuracy(DEFAULTS)
    assert [entry["validation_accuracy"] for entry in trials[0].curve] == [accuracy(DEFAULTS) - 0.05, accuracy(DEFAULTS)]
    assert len({tuple(trial.point.values()) for trial in trials}) == 6


def test_one_seed_gives_one_list_of_trials_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (study(tmp_path / f"{name}.log", seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)])
    assert first == again
    assert first[0].point == other[0].point
    assert not [trial for trial in first[1:] if trial.point in [that.point for that in other[1:]]]


def test_workers_propose_in_batches_that_know_earlier_batches_alone(tmp_path: Path) -> None:
    """The order in which a batch's trials end is nobody's choice: what follows must not depend on it."""

    class Backwards:
        workers = 3

        def run(self, tasks: list[Task], started: Any, done: Any, watch: Any = None) -> None:
            work = work_with(climb, tune_params())
            for position, task in reversed(list(enumerate(tasks))):
                done(position, work(None, task, None))

    params = tune_params(trials=10, workers=3)
    backwards = Search(params, DEFAULTS, 1, open_storage("", tmp_path / "a.log"), "test").run(Backwards(), Told(), ignore)
    assert backwards == study(tmp_path / "b.log", trials=10, workers=3)
    alone = study(tmp_path / "c.log", trials=10)
    assert [trial.point for trial in alone[4:]] != [trial.point for trial in backwards[4:]]


def test_the_search_finds_better_points_than_the_defaults(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=15)
    winner = best(trials, tune_params())
    assert winner.score is not None
    assert winner.score > accuracy(DEFAULTS) + 0.1


def test_an_empty_space_tries_the_defaults_and_knows_that_nothing_is_left(tmp_path: Path) -> None:
    told = Told()
    (trial,) = study(tmp_path / "journal.log", told=told, space={}, trials=3)
    assert (trial.point, trial.score) == ({}, accuracy({}))
    assert told.lines[-1] == "the search stops after 1 trials: every point of the space has been tried"


@pytest.mark.parametrize("workers", [1, 4])
def test_of_a_finite_space_every_point_is_tried_once_and_then_it_stops(tmp_path: Path, workers: int) -> None:
    space = {
        "model.n_layers": IntRange(type="int", low=1, high=3),
        "model.similarity": Choices(type="categorical", choices=["inner_product", "cosine"]),
        "model.n_heads": Choices(type="categorical", choices=[1, 2], when={"model.n_layers": [2]}),
    }
    told = Told()
    defaults = {"model.n_layers": 1, "model.similarity": "cosine", "model.n_heads": 2}
    trials = study(
        tmp_path / "journal.log", told=told, space=space, trials=50, defaults=defaults, pruning=False, workers=workers
    )
    assert len(trials) == 8
    assert len({frozenset(trial.point.items()) for trial in trials}) == 8
    assert told.lines[-1].startswith("the search stops after 8 trials: every point")
    assert study(tmp_path / "journal.log", never, space=space, trials=50, defaults=defaults, workers=workers) == trials


# When it stops.


def test_when_time_is_over_no_further_trial_starts(tmp_path: Path) -> None:
    def slow(shared: Any, task: Task, watch: Any) -> Outcome:
        return Outcome("complete", (0.5,), seconds=40.0)

    told = Told()
    trials = study(tmp_path / "journal.log", work=slow, told=told, timeout_minutes=1.0)
    assert [trial.number for trial in trials] == [0, 1]
    assert told.lines[-1] == "the search stops after 2 of 8 trials: 1 minutes are over"
    assert study(tmp_path / "journal.log", never, timeout_minutes=1.0) == trials  # nor when it is started again


def test_of_trials_that_run_at_the_same_time_the_longest_counts(tmp_path: Path) -> None:
    def slow(shared: Any, task: Task, watch: Any) -> Outcome:
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


def test_a_study_whose_budget_is_used_up_starts_no_trial(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=3)
    assert study(tmp_path / "journal.log", never, trials=3) == trials


@pytest.mark.parametrize("workers", [1, 3])
def test_a_larger_budget_continues_where_the_smaller_one_ended(tmp_path: Path, workers: int) -> None:
    study(tmp_path / "a.log", trials=4, workers=workers)
    assert study(tmp_path / "a.log", trials=8, workers=workers) == study(tmp_path / "b.log", trials=8, workers=workers)


def test_of_a_study_that_a_larger_budget_made_a_smaller_one_sees_its_own_trials_alone(tmp_path: Path) -> None:
    every = study(tmp_path / "journal.log", trials=8)
    assert study(tmp_path / "journal.log", never, trials=3) == every[:3]


def test_each_epoch_is_told_as_it_ends(tmp_path: Path) -> None:
    told = Told()
    study(tmp_path / "journal.log", told=told, trials=2, pruning=False)
    assert told.epochs == [(0, 1), (0, 2), (1, 1), (1, 2)]


# What goes wrong.


def test_a_failing_trial_is_recorded_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    errors = {1: HeadwayError("training diverged: loss nan"), 3: MemoryError()}

    def scores(number: int, point: Any) -> list[float]:
        if number in errors:
            raise errors[number]
        return [0.5]

    trials = study(tmp_path / "journal.log", scores, trials=5)
    assert [trial.state for trial in trials] == ["complete", "failed", "complete", "failed", "complete"]
    assert [trial.reason for trial in trials] == ["", "training diverged: loss nan", "", "MemoryError", ""]
    assert all(trial.score is None and trial.point for trial in trials if trial.reason)
    assert study(tmp_path / "journal.log", never, trials=5) == trials  # a failure is not tried again


def test_when_every_trial_fails_there_is_one_error_with_all_reasons(tmp_path: Path) -> None:
    def scores(number: int, point: Any) -> list[float]:
        raise HeadwayError("out of memory" if number else "training diverged")

    with pytest.raises(
        HeadwayError, match=r"^no trial of 3 could be completed: out of memory; training diverged; change what "
    ):
        study(tmp_path / "journal.log", scores, trials=3)


def test_a_trial_is_kept_before_it_is_recorded_and_recorded_again_when_that_failed(tmp_path: Path) -> None:
    """The server that records may be away: the trial is not lost, and what was not recorded is so by the next run."""

    def away(trial: TrialResult) -> None:
        if trial.number == 1:
            raise Unreachable("MLflow does not answer")

    with pytest.raises(Unreachable, match=r"^MLflow does not answer$"):
        study(tmp_path / "journal.log", record=away, trials=4)
    recorded: list[int] = []
    trials = study(tmp_path / "journal.log", record=lambda trial: recorded.append(trial.number), trials=4)
    assert recorded == [0, 1, 2, 3]
    assert trials == study(tmp_path / "uninterrupted.log", trials=4)


def test_a_person_who_ends_the_search_again_and_again_fails_no_trial(tmp_path: Path) -> None:
    def interrupted(number: int, point: Any) -> list[float]:
        if number == 1:
            raise KeyboardInterrupt
        return climb(number, point)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path / "journal.log", interrupted)
    assert study(tmp_path / "journal.log") == study(tmp_path / "uninterrupted.log")


def test_a_mistake_in_the_code_is_not_taken_for_a_failing_trial(tmp_path: Path) -> None:
    def scores(number: int, point: Any) -> list[float]:
        raise KeyError("no such knob")

    with pytest.raises(KeyError):
        study(tmp_path / "journal.log", scores)
    assert study(tmp_path / "journal.log") == study(tmp_path / "uninterrupted.log")


class Mortal:
    """Two workers, of which one dies as often as it is told to when it runs some trial."""

    workers = 2

    def __init__(self, number: int, deaths: int) -> None:
        self.number, self.deaths = number, deaths
        self.work = work_with(climb, tune_params())

    def run(self, tasks: list[Task], started: Any, done: Any, watch: Any = None) -> None:
        for position, task in enumerate(tasks):
            started(position)
            if task.number == self.number and self.deaths:
                self.deaths -= 1
                done(position, WorkerLost("the worker was killed"))
            else:
                done(position, self.work(None, task, None))


def test_a_trial_whose_worker_died_is_run_once_more(tmp_path: Path) -> None:
    params = tune_params(trials=6, workers=2)
    told = Told()
    trials = Search(params, DEFAULTS, 1, open_storage("", tmp_path / "a.log"), "test").run(Mortal(3, 1), told, ignore)
    assert trials == study(tmp_path / "b.log", trials=6, workers=2)
    assert "trial 3: the worker was killed; it is run once more" in told.lines


def test_a_trial_whose_worker_died_twice_has_failed(tmp_path: Path) -> None:
    params = tune_params(trials=6, workers=2)
    trials = Search(params, DEFAULTS, 1, open_storage("", tmp_path / "a.log"), "test").run(Mortal(3, 2), Told(), ignore)
    assert [trial.state for trial in trials].count("failed") == 1
    assert trials[3].reason == "interrupted twice: its worker died"  # which one is no part of an out


# Another process at the same study.


class Another:
    """Another process, which works at the same study; and a search that runs into it."""

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

    def search(self, scores: Any, told: Told | None = None) -> None:
        params = tune_params()
        Search(params, DEFAULTS, 1, self.storage, "test").run(
            Serial(work_with(scores, params), None, 1), told or Told(), ignore
        )


def test_a_search_that_is_ended_leaves_the_trials_of_another_process_alone(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    def scores(number: int, point: Any) -> list[float]:
        another.begin()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        another.search(scores)
    assert [trial.state for trial in another.trials] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_search_whose_trial_another_process_has_ended_gives_way(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    def scores(number: int, point: Any) -> list[float]:
        another.end(number)
        return climb(number, point)

    with pytest.raises(HeadwayError, match=r"^another process has taken this search over; "):
        another.search(scores)


@pytest.mark.parametrize("outcome", [None, Outcome("complete", (0.5,))])
def test_a_trial_that_another_process_settles_first_is_left_at_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None
) -> None:
    """Two processes that begin after a kill find the same trial running."""
    another = Another(tmp_path / "journal.log")
    optuna.create_study(storage=another.storage, study_name="test", direction="maximize")
    another.begin()
    if outcome:
        another.storage.set_trial_user_attr(another.trials[0]._trial_id, OUTCOME, asdict(outcome))

    def end_it_meanwhile(storage: Any, trial_id: int) -> bool:
        Another(tmp_path / "journal.log").end(7)
        return False

    monkeypatch.setattr("headway.search.study.is_beating", end_it_meanwhile)
    told = Told()
    another.search(climb, told)
    assert told.lines[0] == "began 0"


def test_a_worker_that_dies_with_a_trial_which_another_process_has_ended_is_no_second_attempt(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    class Dying(Mortal):
        def run(self, tasks: list[Task], started: Any, done: Any, watch: Any = None) -> None:
            another.end(tasks[0].number)
            done(0, WorkerLost("the worker was killed"))

    with pytest.raises(HeadwayError, match=r"^another process has taken this search over; "):
        Search(tune_params(), DEFAULTS, 1, another.storage, "test").run(Dying(0, 1), Told(), ignore)


def test_of_two_processes_that_begin_at_once_the_later_one_gives_way(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    class Late(Told):
        def resumed(self, trials: Any) -> None:
            another.begin()

    with pytest.raises(HeadwayError, match=r"^another process runs this search \(trial 7\); "):
        another.search(never, Late())
    theirs, mine = another.trials
    assert (theirs.state, mine.state) == (TrialState.RUNNING, TrialState.FAIL)
    assert STOPPED in mine.user_attrs  # it does not count as an attempt


def test_a_trial_that_another_process_finishes_meanwhile_is_not_run_again(tmp_path: Path) -> None:
    another = Another(tmp_path / "journal.log")

    class Late(Told):
        def resumed(self, trials: Any) -> None:
            another.finish(0)

    with pytest.raises(HeadwayError, match=r"^another process runs this search \(trial 0\); "):
        another.search(never, Late())
    theirs, mine = another.trials
    assert OUTCOME in theirs.user_attrs
    assert STOPPED in mine.user_attrs
    assert OUTCOME not in mine.user_attrs


# Other objectives.


def test_with_two_objectives_nothing_is_pruned_and_both_are_kept(tmp_path: Path) -> None:
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


def test_a_knob_is_asked_only_where_its_condition_holds(tmp_path: Path) -> None:
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
    asked = ["training.gradient_clip_val" in trial.point for trial in trials]
    assert asked == [
        trial.point["model.similarity"] == "cosine" and trial.point["model.n_layers"] in (1, 3, 5) for trial in trials
    ]
    assert {True, False} == set(asked)
