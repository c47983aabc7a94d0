"""The study with objectives that are formulas: what it tries, when it stops, and that no kill changes what it finds."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages.journal import JournalFileBackend

from headway.errors import HeadwayError, Unreachable
from headway.params import TuneParams
from headway.ranges import Choices, FloatRange, IntRange, Value, contains
from headway.search.study import Objective, TrialResult, best, search

SPACE = {
    "training.learning_rate": FloatRange(type="float", low=1e-4, high=1e-1, log=True),
    "training.word_dropout": FloatRange(type="float", low=0.0, high=0.5),
    "model.n_layers": IntRange(type="int", low=1, high=9, step=2),
    "model.similarity": Choices(type="categorical", choices=["inner_product", "cosine"]),
}
DEFAULTS: dict[str, Value] = {
    "training.learning_rate": 0.05,
    "training.word_dropout": 0.4,
    "model.n_layers": 7,
    "model.similarity": "inner_product",
}
Report = Callable[[int, float], None]


def tune_params(trials: int = 8, timeout_minutes: float = 10.0, space: dict[str, Any] | None = None) -> TuneParams:
    return TuneParams(
        trials=trials,
        timeout_minutes=timeout_minutes,
        target=0.0,
        objective="accuracy",
        second_objective="none",
        second_margin=0.0,
        train_share=1.0,
        max_epochs=2,
        pruning=True,
        executor="serial",
        workers=1,
        address="",
        storage="",
        space=SPACE if space is None else space,
    )


def accuracy(point: dict[str, Value]) -> float:
    """A smooth hill with its top at learning rate 0.01, dropout 0.1, 3 layers, cosine."""
    return (
        0.9
        - 0.1 * (math.log10(float(point["training.learning_rate"])) + 2) ** 2
        - (float(point["training.word_dropout"]) - 0.1) ** 2
        - 0.01 * (int(point["model.n_layers"]) - 3) ** 2
        + 0.02 * (point["model.similarity"] == "cosine")
    )


def climb(number: int, point: dict[str, Value], report: Report) -> float:
    """An objective of two epochs, the second better than the first."""
    report(1, accuracy(point) - 0.05)
    report(2, accuracy(point))
    return accuracy(point)


def study(journal: Path, objective: Objective = climb, seed: int = 1, said: list[str] | None = None, **budget: Any) -> Any:
    said = [] if said is None else said
    return search(tune_params(**budget), DEFAULTS, seed, journal, objective, said.append)


# What is tried.


def test_the_first_trial_is_the_defaults_and_the_budget_of_trials_is_used_up(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=6)
    assert [trial.number for trial in trials] == list(range(6))
    assert trials[0].point == DEFAULTS
    assert trials[0].score == accuracy(DEFAULTS)
    assert trials[0].curve == [accuracy(DEFAULTS) - 0.05, accuracy(DEFAULTS)]
    assert len({tuple(trial.point.values()) for trial in trials}) == 6


def test_one_seed_gives_one_list_of_trials_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (study(tmp_path / f"{name}.log", seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)])
    assert first == again
    assert first[0].point == other[0].point
    assert all(one.point != two.point for one, two in zip(first[1:], other[1:], strict=True))


def test_the_search_finds_better_points_than_the_defaults(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=15)
    winner = best(trials)
    assert winner.score is not None
    assert winner.score > accuracy(DEFAULTS) + 0.1
    assert winner.score == max(trial.score for trial in trials if trial.state == "complete")


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_every_kind_of_knob_stays_in_its_range(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    low = data.draw(st.floats(1e-6, 10))
    high = low * data.draw(st.floats(1, 1000))
    step = data.draw(st.integers(1, 4))
    first = data.draw(st.integers(-5, 5))
    names = data.draw(st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True))
    space: dict[str, Any] = {
        "real": FloatRange(type="float", low=low, high=high),
        "log": FloatRange(type="float", low=low, high=high, log=True),
        "int": IntRange(type="int", low=first, high=first + step * data.draw(st.integers(0, 6)), step=step),
        "word": Choices(type="categorical", choices=names),
        "switch": Choices(type="categorical", choices=[True, False]),
    }
    defaults: dict[str, Value] = {"real": low, "log": high, "int": first, "word": names[-1], "switch": False}
    journal = tmp_path_factory.mktemp("study") / "journal.log"
    points = []

    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        points.append(point)
        return float(number % 3)

    trials = search(
        tune_params(7, space=space), defaults, data.draw(st.integers(0, 99)), journal, objective, lambda line: None
    )
    assert [trial.point for trial in trials] == points
    assert points[0] == defaults
    for point in points:
        assert point.keys() == space.keys()
        assert all(contains(space[name], value) for name, value in point.items())
        assert isinstance(point["int"], int)


def test_an_empty_space_tries_the_defaults(tmp_path: Path) -> None:
    said: list[str] = []
    (trial,) = search(
        tune_params(1, space={}), {}, 1, tmp_path / "journal.log", lambda number, point, report: 0.5, said.append
    )
    assert (trial.point, trial.score) == ({}, 0.5)
    assert said[0] == "trial 0: nothing to search"


# When it stops.


def test_when_time_is_over_no_further_trial_starts(tmp_path: Path) -> None:
    said: list[str] = []
    trials = study(tmp_path / "journal.log", said=said, timeout_minutes=1e-9)
    assert [trial.number for trial in trials] == [0]  # one always runs
    assert said[-1].startswith("the search stops after 1 of 8 trials: 1e-09 minutes are over")
    assert study(tmp_path / "journal.log", timeout_minutes=1e-9) == trials  # nor when it is started again


def test_a_study_whose_budget_is_used_up_starts_no_trial(tmp_path: Path) -> None:
    trials = study(tmp_path / "journal.log", trials=3)

    def never(number: int, point: dict[str, Value], report: Report) -> float:
        raise AssertionError("a trial was started")

    assert study(tmp_path / "journal.log", never, trials=3) == trials


def test_a_larger_budget_continues_where_the_smaller_one_ended(tmp_path: Path) -> None:
    study(tmp_path / "a.log", trials=3)
    assert study(tmp_path / "a.log", trials=8) == study(tmp_path / "b.log", trials=8)


def test_poor_trials_are_pruned_and_recorded(tmp_path: Path) -> None:
    reached: list[int] = []

    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        score = [0.5, 0.4, 0.6, 0.45, 0.55][number]
        report(1, score)
        reached.append(number)
        return score + 0.1

    trials = study(tmp_path / "journal.log", objective, trials=5)
    # Trial 1 is worse than all before it, trial 3 than two of three; trial 4 is worse than one of four.
    assert [trial.state for trial in trials] == ["complete", "pruned", "complete", "pruned", "complete"]
    assert reached == [0, 2, 4]
    assert (trials[1].score, trials[1].curve, trials[1].reason) == (0.4, [0.4], "")
    assert trials[1].point


# What goes wrong.


def test_a_failing_trial_is_recorded_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    errors = {
        1: HeadwayError("training diverged: loss nan"),
        2: RuntimeError("could not allocate\nsecond line"),
        3: MemoryError(),
    }

    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        if number in errors:
            raise errors[number]
        return 0.5

    trials = study(tmp_path / "journal.log", objective, trials=5)
    assert [trial.state for trial in trials] == ["complete", "failed", "failed", "failed", "complete"]
    assert [trial.reason for trial in trials[1:4]] == ["training diverged: loss nan", "could not allocate", "MemoryError"]
    assert all(trial.score is None and trial.point for trial in trials[1:4])
    assert study(tmp_path / "journal.log", objective, trials=5) == trials  # a failure is not tried again


def test_when_every_trial_fails_there_is_one_error_with_all_reasons(tmp_path: Path) -> None:
    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        raise HeadwayError("out of memory" if number else "training diverged")

    with pytest.raises(HeadwayError, match=r"^no trial of 3 could be completed: out of memory; training diverged$"):
        study(tmp_path / "journal.log", objective, trials=3)


def test_a_server_that_is_away_interrupts_a_trial_and_does_not_fail_it(tmp_path: Path) -> None:
    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        if number == 1:
            report(1, accuracy(point))
            raise Unreachable("MLflow does not answer")
        return climb(number, point, report)

    for _ in range(2):
        with pytest.raises(Unreachable, match=r"^MLflow does not answer$"):
            study(tmp_path / "journal.log", objective)
    trials = study(tmp_path / "journal.log")
    assert len(trials) == 8
    assert trials == study(tmp_path / "uninterrupted.log")


def test_a_mistake_in_the_code_is_not_taken_for_a_failing_trial(tmp_path: Path) -> None:
    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        raise KeyError("no such knob")

    with pytest.raises(KeyError):
        study(tmp_path / "journal.log", objective)


# Being killed.

FEW = {name: SPACE[name] for name in ("training.learning_rate", "model.similarity")}


def few_knobs(journal: Path) -> list[TrialResult]:
    """A study of few trials and knobs, of which one fails after an epoch: each of its writes is a moment to be killed at."""

    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        score = accuracy({**DEFAULTS, **point})
        report(1, score - 0.05)
        if number == 2:
            raise MemoryError
        report(2, score)
        return score

    defaults = {name: DEFAULTS[name] for name in FEW}
    return search(tune_params(7, space=FEW), defaults, 1, journal, objective, lambda line: None)


def killed_at_write(write: int, journal: Path) -> None:
    """Run the study in this process, and kill the process as soon as the journal has been written to so often."""
    append, writes = JournalFileBackend.append_logs, iter(range(1, 10_000))

    def append_then_die(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        append(self, logs)
        if next(writes) == write:
            os.kill(os.getpid(), signal.SIGKILL)

    JournalFileBackend.append_logs = append_then_die  # type: ignore[method-assign]
    few_knobs(journal)


def run_until_killed(write: int, journal: Path) -> bool:
    """Whether the process was killed before the study was done."""
    process = multiprocessing.get_context("fork").Process(target=killed_at_write, args=(write, journal))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def test_a_study_killed_at_any_moment_ends_with_the_very_trials_of_one_that_was_not(tmp_path: Path) -> None:
    expected = few_knobs(tmp_path / "uninterrupted.log")
    assert {trial.state for trial in expected} == {"complete", "pruned", "failed"}
    write = 1
    while run_until_killed(write, journal := tmp_path / f"{write}.log"):
        assert few_knobs(journal) == expected, f"killed after write {write}"
        write += 1
    assert write > 35  # the moments tried: every write of the study, within trials and between them


def test_a_study_killed_again_and_again_ends_with_the_very_trials_of_one_that_was_not(tmp_path: Path) -> None:
    journal, kills = tmp_path / "killed.log", 0
    while run_until_killed(12, journal) and kills < 20:
        kills += 1
    assert kills > 2
    assert few_knobs(journal) == few_knobs(tmp_path / "uninterrupted.log")


def by_number(kill_at: int | None) -> Objective:
    """Scores that are known, and a kill after the first report of a trial."""

    def objective(number: int, point: dict[str, Value], report: Report) -> float:
        score = [0.5, 0.9, 0.7][number]
        report(1, score)
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return score

    return objective


def test_attempts_that_a_kill_interrupted_do_not_compete_with_later_trials(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    for _ in range(3):
        process = multiprocessing.get_context("fork").Process(
            target=study, args=(journal, by_number(1)), kwargs={"trials": 3}
        )
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    trials = study(journal, by_number(None), trials=3)
    # Trial 2 is better than one of two; counting each attempt at trial 1, it would be worse than four of five.
    assert [(trial.number, trial.state) for trial in trials] == [(0, "complete"), (1, "complete"), (2, "complete")]
    assert trials == study(tmp_path / "uninterrupted.log", by_number(None), trials=3)


# The winner.


def result(number: int, score: float | None, state: str = "complete") -> TrialResult:
    return TrialResult(number, state, score, [], {}, "")


def test_among_equal_scores_the_earliest_trial_wins() -> None:
    trials = [result(0, 0.5), result(1, 0.7), result(2, 0.7), result(3, 0.6)]
    assert best(trials).number == 1
    assert best(trials[::-1]).number == 1


def test_only_a_completed_trial_can_win() -> None:
    assert best([result(0, -0.5), result(1, 0.9, "pruned"), result(2, None, "failed"), result(3, -0.4)]).number == 3
