"""A study in a real PostgreSQL: kept apart by its name, continued after a kill, left alone while another process works at it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from headway import params as parameters
from headway.errors import HeadwayError, Unreachable
from headway.executors import Serial
from headway.search import storage
from headway.search.results import TrialResult
from headway.search.storage import answering, heartbeats, is_beating, open_storage
from headway.search.study import Search
from tests.postgres import PASSWORD, Server, postgres
from tests.search.conftest import DEFAULTS, Told, climb, ignore, study, tune_params, work_with

# A search of three trials in the database; the second of them never ends.
SEARCH = """
import sys, time
from pathlib import Path
from headway.search import storage
from tests.search.test_storage import run, climb

def scores(number, point):
    if number == 1:
        print("ready", flush=True)
        time.sleep(600)
    return climb(number, point)

storage.SECONDS_BETWEEN_BEATS = 0.1
run(sys.argv[1], sys.argv[2], scores)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as ready:
        yield ready


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password in the environment, and a pulse that a test need not wait for."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr(storage, "SECONDS_BETWEEN_BEATS", 0.1)
    monkeypatch.setattr(storage, "SECONDS_OF_GRACE", 2.0)  # enough where nothing beats; a test in which it does gives more
    monkeypatch.setattr(storage, "SECONDS_TO_CONNECT", 0.2)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a study that no other test has."""
    return f"headway {request.node.name}"


def run(url: str, name: str, scores: Any = climb, told: Told | None = None, trials: int = 3) -> list[TrialResult]:
    """Run a search in the database, or continue it."""
    params = tune_params(trials=trials, storage=url, pruning=False)
    with answering(url):
        search = Search(params, DEFAULTS, 1, open_storage(url, Path("unused")), name)
        return search.run(Serial(work_with(scores, params), None, 1), told or Told(), ignore)


def running_trial(url: str, name: str) -> tuple[RDBStorage, int]:
    """A trial that somebody began."""
    kept = open_storage(url, Path("unused"))
    assert isinstance(kept, RDBStorage)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begun = optuna.create_study(storage=kept, study_name=name, load_if_exists=True).ask()
    return kept, begun._trial_id


def points(trials: list[TrialResult]) -> list[dict[str, Any]]:
    return [trial.point for trial in trials]


def test_a_search_in_the_database_is_the_search_in_a_journal(server: Server, name: str, tmp_path: Path) -> None:
    kept = run(server.url, name, trials=6)
    assert [(trial.number, trial.point, trial.score, trial.state) for trial in kept] == [
        (trial.number, trial.point, trial.score, trial.state)
        for trial in study(tmp_path / "journal", trials=6, pruning=False)
    ]


def test_a_finished_search_is_found_and_nothing_runs_again(server: Server, name: str) -> None:
    before = run(server.url, name)

    def never(number: int, point: Any) -> list[float]:
        raise AssertionError("a trial was started")

    assert points(run(server.url, name, never)) == points(before)


def test_studies_of_other_names_do_not_see_each_other(server: Server, name: str) -> None:
    run(server.url, name)
    told = Told()
    run(server.url, name + " too", told=told)
    assert told.found == []


def test_a_search_killed_with_kill_9_is_continued_and_its_trial_run_once_more(
    server: Server, name: str, repository: Path
) -> None:
    with working(server, name, repository):
        pass
    told = Told()
    trials = run(server.url, name, told=told)
    assert [trial.number for trial in told.found] == [0]
    assert "began 1" in told.lines
    assert [trial.state for trial in trials] == ["complete"] * 3
    kept = open_storage(server.url, Path("unused"))
    states = [trial.state for trial in kept.get_all_trials(kept.get_study_id_from_name(name))]
    assert sorted(states) == sorted([TrialState.FAIL, *[TrialState.COMPLETE] * 3])


@contextmanager
def working(server: Server, name: str, repository: Path) -> Iterator[None]:
    """A process that runs a search, one trial of which has ended; it is killed with kill -9 when the block ends."""
    command = [sys.executable, "-c", SEARCH, server.url, name]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) as search:
        assert search.stdout
        assert search.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            search.kill()


def test_a_search_that_another_process_runs_is_left_alone(
    server: Server, name: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECONDS_OF_GRACE", 10.0)
    with working(server, name, repository):
        with pytest.raises(HeadwayError, match="another process runs this search"):
            run(server.url, name)
        kept = open_storage(server.url, Path("unused"))
        states = [trial.state for trial in kept.get_all_trials(kept.get_study_id_from_name(name))]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING]


def test_a_trial_beats_while_it_is_worked_at_and_not_after(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, trial_id = running_trial(server.url, name)
    with monkeypatch.context() as patient, heartbeats(kept, [trial_id]):
        patient.setattr(storage, "SECONDS_OF_GRACE", 10.0)
        assert is_beating(kept, trial_id)
    assert not is_beating(kept, trial_id)


def test_a_trial_that_was_killed_before_its_first_beat_is_given_up(server: Server, name: str) -> None:
    assert not is_beating(*running_trial(server.url, name))


def test_a_beat_longer_ago_than_the_grace_needs_no_waiting(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, trial_id = running_trial(server.url, name)
    kept.record_heartbeat(trial_id)
    monkeypatch.setattr(storage, "SECONDS_OF_GRACE", 0.0)
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: pytest.fail("it waited"))
    assert not is_beating(kept, trial_id)


def test_a_journal_has_no_heartbeats(tmp_path: Path) -> None:
    kept = open_storage("", tmp_path / "journal")
    with heartbeats(kept, [0]):
        assert not is_beating(kept, 0)


def test_the_search_outlives_a_database_that_is_started_anew(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SECONDS_TO_CONNECT", 20.0)

    def restart(number: int, point: Any) -> list[float]:
        if number == 1:
            server.stop()
            threading.Timer(0.5, server.start).start()
            time.sleep(0.3)  # so that a heartbeat fails too
        return climb(number, point)

    assert [trial.state for trial in run(server.url, name, restart)] == ["complete"] * 3


def test_a_database_that_is_away_is_one_line_and_the_search_goes_on_when_it_is_back(server: Server, name: str) -> None:
    def stop(number: int, point: Any) -> list[float]:
        if number == 1:
            server.stop()
        return climb(number, point)

    try:
        with pytest.raises(Unreachable) as caught:
            run(server.url, name, stop)
    finally:
        server.start()
        server.wait()
    assert_plain(str(caught.value), f"127.0.0.1:{server.port}", "start it, and run again")
    told = Told()
    assert len(run(server.url, name, told=told)) == 3
    assert [trial.number for trial in told.found] == [0]


def test_no_database_at_the_address_is_one_line_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://headway:word@127.0.0.1:9/postgres"
    with pytest.raises(Unreachable) as caught:
        open_storage(url, Path("unused"))
    assert_plain(str(caught.value), "127.0.0.1:9", "start it, and run again")
    assert "word@" not in str(caught.value)


def test_a_wrong_password_or_database_is_one_line_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECONDS_TO_CONNECT", 600.0)
    with pytest.raises(HeadwayError, match="does not exist") as caught:
        open_storage(server.url.replace("/postgres", "/nowhere"), Path("unused"))
    assert not isinstance(caught.value, Unreachable)
    monkeypatch.setenv("PGPASSWORD", "not that")
    with pytest.raises(HeadwayError, match="password authentication failed") as caught:
        open_storage(server.url, Path("unused"))
    assert_plain(str(caught.value), "PGPASSWORD")
    assert not isinstance(caught.value, Unreachable)
    assert "not that" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql+nothing://headway@127.0.0.1/x", "postgresql+pg8000://db/x", "postgresql://db:port/x"]
)
def test_what_is_no_url_of_a_database_is_one_line(url: str) -> None:
    with pytest.raises(HeadwayError, match=r"^tune.storage: .*; expected as in postgresql://user@host/database$"):
        open_storage(url, Path("unused"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://headway:hidden@db/studies",
        "postgres://headway:hidden@db/studies",
        "postgresql://headway:hid/den@db/studies",
        "postgresql://db/studies?user=headway&password=hidden",
    ],
)
def test_params_with_a_password_are_refused_without_showing_it(url: str, repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text((repository / "params.yaml").read_text().replace('  storage: ""', f'  storage: "{url}"'))
    with pytest.raises(HeadwayError, match=r"tune.storage: holds a password, .* PGPASSWORD") as caught:
        parameters.load(file)
    assert "hid" not in str(caught.value).replace("holds", "")


@pytest.mark.parametrize("url", ["sqlite:///study.db", "postgres://db/studies", "postgresql://", "studies"])
def test_params_with_another_storage_are_refused(url: str, repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text((repository / "params.yaml").read_text().replace('  storage: ""', f'  storage: "{url}"'))
    with pytest.raises(HeadwayError, match=r"tune.storage: .* expected as in postgresql://user@host/database"):
        parameters.load(file)


def assert_plain(message: str, *parts: str) -> None:
    assert "\n" not in message
    assert PASSWORD not in message
    assert all(part in message for part in parts), message
