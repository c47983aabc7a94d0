"""Studies in a real PostgreSQL: separate by name, continued after a kill, and left alone while another process runs them."""

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
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from headway import params as parameters
from headway.errors import HeadwayError, Unreachable
from headway.executors import Serial
from headway.search import storage
from headway.search.attempts import NUMBER, Attempts
from headway.search.results import TrialResult
from headway.search.storage import database_errors, fail_abandoned_trials, heartbeats, open_storage, record_heartbeat
from headway.search.study import Search
from headway.search.trial import Task
from tests.postgres import PASSWORD, Server, postgres
from tests.search.conftest import DEFAULTS, Shown, climb, ignore, study, tune_params, work_with

# A search of three trials in the database. The second trial never ends.
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

storage.HEARTBEAT_INTERVAL = 0.1
run(sys.argv[1], sys.argv[2], scores)
"""


pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # for Study.ask


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as ready:
        yield ready


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password in the environment, and heartbeats that a test need not wait for."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr(storage, "HEARTBEAT_INTERVAL", 0.1)
    monkeypatch.setattr(storage, "GRACE_PERIOD", 2.0)  # tests with a live process set a longer one
    monkeypatch.setattr(storage, "SECONDS_TO_CONNECT", 0.2)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A study name that no other test uses."""
    return f"headway {request.node.name}"


def run(url: str, name: str, scores: Any = climb, shown: Shown | None = None, trials: int = 3) -> list[TrialResult]:
    """Run a search in the database, or continue it."""
    params = tune_params(trials=trials, storage=url, pruning=False)
    with database_errors(url):
        search = Search(params, DEFAULTS, 1, open_storage(url, Path("unused")), name)
        return list(search.run(Serial(work_with(scores, params), None, 1), shown or Shown(), ignore).trials)


def new_study(url: str, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(storage=open_storage(url, Path("unused")), study_name=name)


def state(study: optuna.Study, number: int = 0) -> TrialState:
    return study.get_trials()[number].state


def points(trials: list[TrialResult]) -> list[dict[str, Any]]:
    return [trial.point for trial in trials]


def test_a_search_gives_the_same_trials_in_a_database_and_in_a_journal(server: Server, name: str, tmp_path: Path) -> None:
    kept = run(server.url, name, trials=6)
    assert [(trial.number, trial.point, trial.score, trial.state) for trial in kept] == [
        (trial.number, trial.point, trial.score, trial.state)
        for trial in study(tmp_path / "journal", trials=6, pruning=False)
    ]


def test_a_finished_search_runs_nothing_again(server: Server, name: str) -> None:
    before = run(server.url, name)

    def never(number: int, point: Any) -> list[float]:
        raise AssertionError("a trial was started")

    assert points(run(server.url, name, never)) == points(before)


def test_studies_with_different_names_are_separate(server: Server, name: str) -> None:
    run(server.url, name)
    shown = Shown()
    run(server.url, name + " too", shown=shown)
    assert shown.found == []


def test_a_search_killed_with_kill_9_continues_and_runs_its_trial_once_more(
    server: Server, name: str, repository: Path
) -> None:
    with working(server, name, repository):
        pass
    shown = Shown()
    trials = run(server.url, name, shown=shown)
    assert [trial.number for trial in shown.found] == [0]
    assert "began 1" in shown.lines
    assert [trial.state for trial in trials] == ["complete"] * 3
    kept = open_storage(server.url, Path("unused"))
    states = [trial.state for trial in kept.get_all_trials(kept.get_study_id_from_name(name))]
    assert sorted(states) == sorted([TrialState.FAIL, *[TrialState.COMPLETE] * 3])


@contextmanager
def working(server: Server, name: str, repository: Path) -> Iterator[None]:
    """A process in the second trial of a search. It is killed with kill -9 when the block ends."""
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
    monkeypatch.setattr(storage, "GRACE_PERIOD", 5.0)
    with working(server, name, repository):
        with pytest.raises(HeadwayError, match="another process runs this search"):
            run(server.url, name)
        kept = open_storage(server.url, Path("unused"))
        states = [trial.state for trial in kept.get_all_trials(kept.get_study_id_from_name(name))]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING]


def test_a_running_trial_is_left_alone_while_it_has_heartbeats(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "GRACE_PERIOD", 5.0)
    study = new_study(server.url, name)
    trial = study.ask()
    trial.set_user_attr(NUMBER, 7)
    with heartbeats(study._storage, [trial._trial_id]):
        with pytest.raises(HeadwayError, match=r"^another process runs this search \(trial 7\); "):
            fail_abandoned_trials(study)
        assert state(study) == TrialState.RUNNING


def test_a_running_trial_without_new_heartbeats_is_abandoned(server: Server, name: str) -> None:
    study = new_study(server.url, name)
    record_heartbeat(study._storage, study.ask()._trial_id)
    fail_abandoned_trials(study)
    assert state(study) == TrialState.FAIL


def test_an_old_heartbeat_needs_no_waiting(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "GRACE_PERIOD", 0.01)
    study = new_study(server.url, name)
    record_heartbeat(study._storage, study.ask()._trial_id)
    time.sleep(0.05)
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: pytest.fail("it waited"))
    fail_abandoned_trials(study)
    assert state(study) == TrialState.FAIL


@pytest.mark.parametrize("step", ["_create_new_trial", "record_heartbeat", "set_trial_state_values"])
def test_a_trial_that_was_killed_while_it_began_is_abandoned(
    server: Server, name: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna alone would count a running trial without any heartbeat as alive for ever."""
    attempts = Attempts.open(open_storage(server.url, Path("unused")), name, tune_params())
    with monkeypatch.context() as patch:
        write = getattr(storage.Database, step)

        def killed(*args: Any, **more: Any) -> None:
            write(*args, **more)
            raise SystemExit

        patch.setattr(storage.Database, step, killed)
        with pytest.raises(SystemExit):
            attempts.begin(Task(0, DEFAULTS))
    fail_abandoned_trials(attempts.study)
    assert state(attempts.study) == TrialState.FAIL


def test_a_heartbeat_that_fails_does_not_end_the_heartbeats(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(server.url, name)
    calls = threading.Semaphore(0)

    def failing(*_: Any) -> None:
        calls.release()
        raise StorageInternalError("the database is restarting")

    monkeypatch.setattr(RDBStorage, "record_heartbeat", failing)
    with heartbeats(study._storage, [study.ask()._trial_id]):
        for _ in range(3):
            assert calls.acquire(timeout=30)


def test_a_journal_needs_no_heartbeats(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage("", tmp_path / "journal"))
    study.ask()
    with heartbeats(study._storage, [0]):
        fail_abandoned_trials(study)
    assert state(study) == TrialState.FAIL


def test_the_search_survives_a_restart_of_the_database(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECONDS_TO_CONNECT", 20.0)

    def restart(number: int, point: Any) -> list[float]:
        if number == 1:
            server.stop()
            threading.Timer(0.5, server.start).start()
            time.sleep(0.3)  # so that a heartbeat fails too
        return climb(number, point)

    assert [trial.state for trial in run(server.url, name, restart)] == ["complete"] * 3


def test_a_database_that_stops_is_one_line_and_the_search_continues_when_it_is_back(server: Server, name: str) -> None:
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
    shown = Shown()
    assert len(run(server.url, name, shown=shown)) == 3
    assert [trial.number for trial in shown.found] == [0]


def test_an_unreachable_database_is_one_line_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_malformed_database_url_is_one_line(url: str) -> None:
    with pytest.raises(HeadwayError, match=r"^tune.storage: .*; expected a URL such as postgresql://user@host/database$"):
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
    with pytest.raises(HeadwayError, match=r"tune.storage: .* PGPASSWORD") as caught:
        parameters.load(file)
    assert "hid" not in str(caught.value).replace("holds", "")


@pytest.mark.parametrize("url", ["sqlite:///study.db", "postgres://db/studies", "postgresql://", "studies"])
def test_params_with_another_storage_are_refused(url: str, repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text((repository / "params.yaml").read_text().replace('  storage: ""', f'  storage: "{url}"'))
    with pytest.raises(HeadwayError, match=r"tune.storage: .* expected a URL such as postgresql://user@host/database"):
        parameters.load(file)


def assert_plain(message: str, *parts: str) -> None:
    assert "\n" not in message
    assert PASSWORD not in message
    assert all(part in message for part in parts), message
