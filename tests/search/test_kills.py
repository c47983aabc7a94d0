"""Searches that are killed: nothing that was finished is lost, nothing is tried twice, and the trials are those of a search
that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from headway.search.results import TrialResult
from headway.search.storage import open_storage
from headway.search.study import NUMBER, OUTCOME, STARTED
from headway.search.trial import Outcome, Task
from tests.apart import CONTEXT, dying, is_killed
from tests.search.conftest import SPACE, accuracy, climb, study, tune_params, work_with

FEW = {name: SPACE[name] for name in ("training.learning_rate", "model.similarity")}


@pytest.fixture(scope="module", autouse=True)
def preload() -> None:
    CONTEXT.set_forkserver_preload([__name__])


def attempts(journal: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="test", storage=open_storage("", journal)).get_trials()


def few_knobs(journal: Path, workers: int = 1) -> list[TrialResult]:
    """A study of few trials and knobs, of which one fails: each of its writes is a moment to be killed at."""

    def scores(number: int, point: Mapping[str, Any]) -> list[float]:
        if number == 2:
            raise MemoryError
        return climb(number, point)

    return study(journal, scores, trials=7, space=FEW, workers=workers)


def killed_within_write(write: int, journal: Path) -> None:
    """Run the study in this process, and kill the process when this write holds Optuna's lock and half of its line is written."""
    die_within_write(write)
    few_knobs(journal)


def die_within_write(write: int) -> None:
    """Be killed, later in this process, when this write of a journal holds Optuna's lock and half of its line is written."""

    def half(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        self._lock.acquire()
        line = json.dumps(logs[0]).encode()
        with Path(self._file_path).open("ab") as file:
            file.write(line[: len(line) // 2])

    JournalFileBackend.append_logs = dying(JournalFileBackend.append_logs, write, half)  # type: ignore[method-assign]


def killed_at_write(write: int, journal: Path, workers: int = 1) -> None:
    """Run the study in this process, and kill the process as soon as the journal has been written to so often."""
    append = JournalFileBackend.append_logs
    JournalFileBackend.append_logs = dying(append, write, append)  # type: ignore[method-assign]
    few_knobs(journal, workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_study_killed_at_any_moment_ends_with_the_very_trials_of_one_that_was_not(tmp_path: Path, workers: int) -> None:
    expected = few_knobs(tmp_path / "uninterrupted.log", workers)
    assert {trial.state for trial in expected} == {"complete", "pruned", "failed"}
    write = 1
    while is_killed(killed_at_write, write, journal := tmp_path / f"{write}.log", workers):
        assert few_knobs(journal, workers) == expected, f"killed after write {write}"
        write += 1
    assert write > 25  # the moments tried: every write of the study, within trials and between them


def test_a_kill_in_the_middle_of_a_write_costs_neither_the_study_nor_time(tmp_path: Path) -> None:
    expected = few_knobs(tmp_path / "uninterrupted.log")
    for write in (1, 2, 3, 5, 8, 13, 21):
        journal = tmp_path / f"{write}.log"
        lock = Path(f"{journal}.lock")
        assert is_killed(killed_within_write, write, journal)
        assert lock.is_symlink()
        assert not journal.read_bytes().endswith(b"\n")
        open_storage("", journal)
        assert not lock.is_symlink()
        assert few_knobs(journal) == expected, f"killed within write {write}"


def deadly(number: int, point: Mapping[str, Any]) -> list[float]:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return climb(number, point)


def test_a_trial_that_was_killed_twice_has_failed_and_the_study_goes_on(tmp_path: Path) -> None:
    """As when its point asks for more memory than the machine has."""
    journal = tmp_path / "journal.log"
    assert is_killed(study, journal, deadly)
    assert is_killed(study, journal, deadly)
    trials = study(journal, deadly, trials=4)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[1].state == "failed"
    assert trials[1].reason == "interrupted twice: its process was killed, by the system if memory was short"
    both = [trial.params for trial in attempts(journal) if trial.user_attrs[NUMBER] == 1]
    assert len(both) == 2
    assert both[0] == both[1] == trials[1].point


def three_at_once(journal: Path) -> list[TrialResult]:
    """A batch of three, run one after another, of which the first kills the process."""

    def scores(number: int, point: Mapping[str, Any]) -> list[float]:
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return climb(number, point)

    return study(journal, scores, trials=3, workers=3)


def test_trials_that_waited_for_a_worker_have_no_part_in_the_kills_of_another(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    assert is_killed(three_at_once, journal)
    assert is_killed(three_at_once, journal)
    assert [trial.state for trial in three_at_once(journal)] == ["failed", "complete", "complete"]


def by_number(journal: Path, kill_at: int | None = None) -> list[TrialResult]:
    """A study whose scores are known, and a kill in the middle of a trial."""

    def scores(number: int, point: Mapping[str, Any]) -> list[float]:
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return [[0.5, 0.9, 0.7][number]] * 2

    return study(journal, scores, trials=3)


def test_attempts_that_a_kill_interrupted_do_not_compete_with_later_trials(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    assert is_killed(by_number, journal, 1)
    assert by_number(journal) == by_number(tmp_path / "uninterrupted.log")


def slowly(journal: Path) -> list[TrialResult]:
    """Trials that take a few hundredths of a second, so that a kill may come in the middle of one."""
    work = work_with(climb, tune_params())

    def at_work(shared: Any, task: Task, watch: Any) -> Outcome:
        time.sleep(0.02)
        return work(shared, task, watch)

    return study(journal, work=at_work, trials=120, space=FEW, pruning=False)


def test_twenty_kills_at_random_moments_lose_no_finished_trial_and_try_no_point_twice(tmp_path: Path) -> None:
    """Whichever moments they hit, the same has to hold. All of the moments together are shorter than the trials."""
    journal = tmp_path / "journal.log"
    kills = 0
    kept: dict[int, Any] = {}
    while kills < 20:
        before = journal.stat().st_size if journal.exists() else 0
        process = CONTEXT.Process(target=slowly, args=(journal,))
        process.start()
        while process.is_alive() and not (journal.exists() and journal.stat().st_size > before):
            time.sleep(0.005)
        time.sleep(random.uniform(0.0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the study was over, or failed, before it was killed"
        kills += 1
        if journal.exists() and journal.stat().st_size:
            ended = [trial.user_attrs for trial in attempts(journal) if OUTCOME in trial.user_attrs]
            done = {known[NUMBER]: known[OUTCOME] for known in ended}
            assert done.items() >= kept.items(), "a finished trial was lost or changed"
            kept = done
    trials = slowly(journal)
    assert [trial.number for trial in trials] == list(range(120))
    assert len({frozenset(trial.point.items()) for trial in trials}) == 120
    every = attempts(journal)
    assert all(trial.state.is_finished() for trial in every)
    begun = Counter(trial.user_attrs[NUMBER] for trial in every if STARTED in trial.user_attrs)
    assert max(begun.values()) <= 2
    assert sum(begun.values()) > 120, "no kill came in the middle of a trial"
    for trial in trials:
        assert trial.state == "complete" or trial.reason.startswith("interrupted twice")
        assert trial.score == (accuracy(trial.point) if trial.state == "complete" else None)
