"""A search that is killed loses no finished trial, tries no point twice, and ends with the trials of an undisturbed search."""

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

from headway.search.attempts import INTERRUPTED_TWICE, NUMBER, OUTCOME, STARTED
from headway.search.results import TrialResult
from headway.search.storage import open_storage
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
    """A study of few trials, one of which fails. Each of its writes is a moment for a kill."""

    def scores(number: int, point: Mapping[str, Any]) -> list[float]:
        if number == 2:
            raise MemoryError
        return climb(number, point)

    return study(journal, scores, trials=7, space=FEW, workers=workers)


def killed_within_write(write: int, journal: Path) -> None:
    """Run the study, and kill this process when the given write holds Optuna's lock and has written half of its line."""
    die_within_write(write)
    few_knobs(journal)


def die_within_write(write: int) -> None:
    """Have this process killed when the given write of a journal holds Optuna's lock and has written half of its line."""

    def half(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        self._lock.acquire()
        line = json.dumps(logs[0]).encode()
        with Path(self._file_path).open("ab") as file:
            file.write(line[: len(line) // 2])

    JournalFileBackend.append_logs = dying(JournalFileBackend.append_logs, write, half)  # type: ignore[method-assign]


def killed_at_write(write: int, journal: Path, workers: int = 1) -> None:
    """Run the study, and kill this process right after the given write of the journal."""
    append = JournalFileBackend.append_logs
    JournalFileBackend.append_logs = dying(append, write, append)  # type: ignore[method-assign]
    few_knobs(journal, workers)


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_study_killed_after_any_write_ends_with_the_trials_of_an_undisturbed_one(tmp_path: Path, workers: int) -> None:
    expected = few_knobs(tmp_path / "uninterrupted.log", workers)
    assert {trial.state for trial in expected} == {"complete", "pruned", "failed"}
    write = 1
    while is_killed(killed_at_write, write, journal := tmp_path / f"{write}.log", workers):
        assert few_knobs(journal, workers) == expected, f"killed after write {write}"
        write += 1
    assert write > 25  # every write of the study was a moment, within trials and between them


def test_a_kill_in_the_middle_of_a_write_loses_nothing_and_does_not_block_the_next_run(tmp_path: Path) -> None:
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


def test_a_trial_that_was_killed_twice_has_failed_and_the_search_continues(tmp_path: Path) -> None:
    """As if its point needed more memory than the machine has."""
    journal = tmp_path / "journal.log"
    assert is_killed(study, journal, deadly)
    assert is_killed(study, journal, deadly)
    trials = study(journal, deadly, trials=4)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert trials[1].state == "failed"
    assert trials[1].reason == INTERRUPTED_TWICE
    both = [trial.params for trial in attempts(journal) if trial.user_attrs[NUMBER] == 1]
    assert len(both) == 2
    assert both[0] == both[1] == trials[1].point


def three_at_once(journal: Path) -> list[TrialResult]:
    """A batch of three that run one after another. The first kills the process."""

    def scores(number: int, point: Mapping[str, Any]) -> list[float]:
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return climb(number, point)

    return study(journal, scores, trials=3, workers=3)


def test_a_kill_does_not_count_against_trials_that_waited_for_a_worker(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    assert is_killed(three_at_once, journal)
    assert is_killed(three_at_once, journal)
    assert [trial.state for trial in three_at_once(journal)] == ["failed", "complete", "complete"]


def by_number(journal: Path, kill_at: int | None = None) -> list[TrialResult]:
    """A study with known scores, and a kill in the middle of a trial."""

    def scores(number: int, point: Mapping[str, Any]) -> list[float]:
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return [[0.5, 0.9, 0.7][number]] * 2

    return study(journal, scores, trials=3)


def test_interrupted_attempts_do_not_compete_with_later_trials(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    assert is_killed(by_number, journal, 1)
    assert by_number(journal) == by_number(tmp_path / "uninterrupted.log")


def slowly(journal: Path) -> list[TrialResult]:
    """Trials of a few hundredths of a second, so that a kill may hit the middle of one."""
    work = work_with(climb, tune_params())

    def at_work(shared: Any, task: Task, report: Any) -> Outcome:
        time.sleep(0.02)
        return work(shared, task, report)

    return study(journal, work=at_work, trials=120, space=FEW, pruning=False)


def test_twenty_kills_at_random_moments_lose_no_finished_trial_and_try_no_point_twice(tmp_path: Path) -> None:
    """The same must hold at every moment. The kills together take less time than the trials."""
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
