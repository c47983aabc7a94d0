"""Every executor runs the same batches, for real: two processes, and a Ray cluster of two workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from headway.errors import HeadwayError, Unreachable
from headway.executors import Engine, Executor, WorkerLost, open_executor
from headway.search.storage import open_storage
from headway.search.study import Search
from headway.search.trial import Outcome, Task
from tests.executors.works import Recorder, Shared, collect, make_shared, tasks, work
from tests.search.conftest import DEFAULTS, Shown, ignore, tune_params

PATIENCE = 30.0  # seconds for a busy machine; nothing waits that long when all is well

# Starts two workers, prints a line, and then does not end.
PARENT = """
import pathlib, sys, time
from headway.executors import open_executor
from tests.executors.works import collect, make_shared, tasks, work

if __name__ == "__main__":
    with open_executor("processes", work, make_shared(pathlib.Path(sys.argv[1])), workers=2) as executor:
        collect(executor, tasks(0.1, 0.2))
        print("ready", flush=True)
        time.sleep(600)
"""


def opened(engine: Engine, shared: Shared, **options: Any) -> AbstractContextManager[Executor[Task, Outcome]]:
    return open_executor(engine, work, shared, **{"workers": 2, **options})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return make_shared(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module", params=["processes", "ray"])
def running(request: pytest.FixtureRequest, shared: Shared) -> Iterator[Executor[Task, Outcome]]:
    """Two workers, the same ones for all tests of an engine."""
    with opened(request.param, shared) as ready:
        yield ready


@pytest.fixture
def executor(running: Executor[Task, Outcome]) -> Executor[Task, Outcome]:
    """An executor that has recovered from what the test before did to its workers."""
    collect_all(running, tasks(0.1, 0.2))
    return running


def collect_all(executor: Executor[Task, Outcome], batch: Sequence[Task]) -> list[Outcome]:
    """Outcomes alone. The batch runs again while a worker is lost: Ray may give a task to one that has just died."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        results = collect(executor, batch)
        if not any(isinstance(result, WorkerLost) for result in results):
            return results
    pytest.fail("workers are lost again and again")


def scores(outcomes: Sequence[Outcome]) -> list[float]:
    return [outcome.values[0] for outcome in outcomes]


def pids(outcomes: Sequence[Outcome]) -> set[int]:
    return {int(outcome.curve[0]["pid"]) for outcome in outcomes}


def test_every_executor_returns_what_the_serial_one_returns_in_the_order_of_the_batch(
    executor: Executor[Task, Outcome], shared: Shared
) -> None:
    batch = tasks(0.1, 0.2, 0.3, 0.4, 0.5)
    with opened("serial", shared) as serial:
        expected = scores(collect(serial, batch))
    assert executor.workers == 2
    assert scores(collect(executor, batch)) == expected
    assert len(set(expected)) == 5


def test_tasks_run_in_other_processes(executor: Executor[Task, Outcome]) -> None:
    assert os.getpid() not in pids(collect(executor, tasks(0.1, 0.2, 0.3)))


def test_two_tasks_run_at_the_same_time(executor: Executor[Task, Outcome], tmp_path: Path) -> None:
    outcomes = collect(executor, tasks(f"meet {tmp_path}", f"meet {tmp_path}"))
    assert len(pids(outcomes)) == 2  # each waited for the other


def test_a_task_is_taken_when_a_worker_is_free_for_it(executor: Executor[Task, Outcome]) -> None:
    taken, ahead = 0, []

    def each() -> Iterator[Task]:
        nonlocal taken
        for task in tasks(0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
            taken += 1
            yield task

    class Counting(Recorder):
        def ended(self, position: int, result: Outcome | WorkerLost) -> None:
            ahead.append(taken - len(self.results))
            super().ended(position, result)

    recorder = Counting()
    executor.run(each(), recorder)
    assert len(recorder.results) == 6
    assert max(ahead) <= executor.workers


def test_a_worker_killed_with_kill_9_loses_only_its_own_task(executor: Executor[Task, Outcome]) -> None:
    lost, *kept = collect(executor, tasks("die", 0.2, 0.3, 0.4))
    assert isinstance(lost, WorkerLost)
    assert "\n" not in str(lost)
    assert scores(kept) == scores(collect_all(executor, tasks(0.2, 0.3, 0.4)))


def test_a_lost_worker_does_not_disturb_a_task_that_runs_beside_it(
    executor: Executor[Task, Outcome], tmp_path: Path
) -> None:
    class Releasing(Recorder):
        def ended(self, position: int, result: Outcome | WorkerLost) -> None:
            super().ended(position, result)
            (tmp_path / "file").touch()

    recorder = Releasing()
    executor.run(tasks("die", f"wait {tmp_path / 'file'}"), recorder)
    assert isinstance(recorder.results[0], WorkerLost)
    assert recorder.results[1].state == "complete"


def test_when_every_worker_is_killed_new_ones_have_the_shared_object(executor: Executor[Task, Outcome]) -> None:
    before = scores(collect(executor, tasks(0.1, 0.2)))
    assert all(isinstance(result, WorkerLost) for result in collect(executor, tasks("die", "die")))
    assert scores(collect_all(executor, tasks(0.1, 0.2))) == before


def test_a_worker_killed_between_batches_loses_nothing(executor: Executor[Task, Outcome]) -> None:
    before = collect(executor, tasks(0.1, 0.2))
    for pid in pids(before):
        os.kill(pid, signal.SIGKILL)
        wait_until_gone([psutil.Process(pid)] if psutil.pid_exists(pid) else [])
    assert scores(collect_all(executor, tasks(0.1, 0.2))) == scores(before)


def test_an_exception_of_the_work_is_raised_and_the_next_batch_runs(executor: Executor[Task, Outcome]) -> None:
    with pytest.raises(HeadwayError, match="trial 1 is a mistake"):
        collect(executor, tasks(0.1, "raise"))
    assert len(scores(collect(executor, tasks(0.1, 0.2)))) == 2


def test_an_exception_that_cannot_be_pickled_is_raised_as_one_that_can(shared: Shared) -> None:
    with (
        pytest.raises(RuntimeError, match=r"^NotPicklable: left and right") as raised,
        opened("processes", shared) as executor,
    ):
        collect(executor, tasks("raise-not-picklable"))
    assert "works.py" in str(raised.value.__cause__)


def test_the_shared_object_reaches_each_process_once(tmp_path: Path) -> None:
    """Ray's workers read it from Ray's object store, for each task anew, without a copy."""
    with opened("processes", make_shared(tmp_path)) as executor:
        for _ in range(2):
            assert len(scores(collect(executor, tasks(0.1, 0.2, 0.3, 0.4)))) == 4
    assert (tmp_path / "arrivals").read_text().count("another") == 2


def test_an_exception_of_the_listener_ends_the_batch_and_the_next_one_runs(
    executor: Executor[Task, Outcome], tmp_path: Path
) -> None:
    class Interrupting(Recorder):
        def ended(self, position: int, result: Outcome | WorkerLost) -> None:
            assert position == 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executor.run(tasks(0.1, f"wait {tmp_path / 'file'}"), Interrupting())
    (tmp_path / "file").touch()
    assert len(scores(collect(executor, tasks(0.1, 0.2)))) == 2


def test_an_empty_batch_ends_at_once(executor: Executor[Task, Outcome]) -> None:
    assert collect(executor, []) == []


def test_a_search_is_the_same_on_every_executor_and_when_a_worker_is_killed(
    executor: Executor[Task, Outcome], shared: Shared, tmp_path: Path
) -> None:
    with opened("serial", shared) as serial:
        expected, _ = search(tmp_path / "serial", serial)
    undisturbed, lines = search(tmp_path / "undisturbed", executor)
    assert undisturbed == expected
    assert not [line for line in lines if "once more" in line]

    (shared.folder / "die 3").touch()
    disturbed, lines = search(tmp_path / "disturbed", executor)
    assert disturbed == expected
    assert [line.split(":")[0] for line in lines if "once more" in line] == ["trial 3"]


def test_a_trial_that_kills_two_workers_has_failed_and_the_search_continues(
    executor: Executor[Task, Outcome], shared: Shared, tmp_path: Path
) -> None:
    class Killing(Shown):
        def message(self, line: str) -> None:
            super().message(line)
            (shared.folder / "die 1").touch()

    (shared.folder / "die 1").touch()
    params = tune_params(workers=2, pruning=False, trials=5)
    trials = (
        Search(params, DEFAULTS, 1, open_storage("", tmp_path / "journal"), "test").run(executor, Killing(), ignore).trials
    )
    assert [trial.state for trial in trials] == ["complete", "failed", "complete", "complete", "complete"]
    assert "interrupted twice" in trials[1].reason


def search(
    journal: Path, executor: Executor[Task, Outcome]
) -> tuple[list[tuple[int, dict[str, Any], float | None]], list[str]]:
    """Number, point and score of a search's trials, and what it showed."""
    params, shown = tune_params(workers=2, pruning=False, trials=5), Shown()
    trials = Search(params, DEFAULTS, 1, open_storage("", journal), "test").run(executor, shown, ignore).trials
    return [(trial.number, trial.point, trial.score) for trial in trials], shown.lines


def test_processes_report_while_a_task_runs(shared: Shared) -> None:
    recorder = Recorder()
    with opened("processes", shared) as executor:
        executor.run(tasks(0.1, 0.2), recorder)
    for position in (0, 1):
        assert [what for what, where in recorder.events if where == position] == ["started", "reported", "ended"]


def test_the_processes_are_gone_when_the_block_ends(shared: Shared) -> None:
    with opened("processes", shared) as executor:
        workers = [psutil.Process(pid) for pid in pids(collect(executor, tasks(0.1, 0.2)))]
    wait_until_gone(workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_processes_end_with_a_parent_that_is_killed_with_kill_9(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(family) >= 2
    wait_until_gone(family)


def test_ray_folders_of_killed_processes_are_removed_and_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.executors import cluster

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(cluster, "TEMPORARY", tmp_path)
    kept = [f"headway-ray-{os.getpid()}-ab", "headway-ray-x-ab", "headway-abc", f"other-{gone.pid}-ab"]
    for name in (*kept, f"headway-ray-{gone.pid}-ab"):
        (tmp_path / name / "session").mkdir(parents=True)
    cluster.remove_abandoned_folders()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(kept)


def test_a_ray_cluster_that_does_not_answer_is_one_line(shared: Shared) -> None:
    with pytest.raises(Unreachable, match=r"^tune.address: the Ray cluster does not answer .*; start it, and run again$"):
        opened("ray", shared, address="127.0.0.1:9").__enter__()


@pytest.mark.parametrize(
    ("printed", "raised", "message"),
    [
        (
            "W gcs_client.cc: Unauthenticated: InvalidAuthToken\n",
            "no connection",
            "requires a token, .* set RAY_AUTH_MODE=token",
        ),
        ("", "AuthenticationError: no token", "requires a token, .* set RAY_AUTH_MODE=token"),
        (
            "",
            "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.7\n"
            "This process on 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.12.1\n",
            r"has Ray 2\.59\.0 on Python 3\.11\.7, and this machine has Ray 2\.60\.0 on Python 3\.12\.1; install the same",
        ),
        ("", "no node here\nmore", r"does not accept this process \(no node here\); run it on a machine of the cluster$"),
    ],
)
def test_why_a_ray_cluster_refuses_is_one_line(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, printed: str, raised: str, message: str
) -> None:
    def refuse(**_: object) -> None:
        os.write(2, printed.encode())
        raise RuntimeError(raised)

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr("headway.executors.cluster.ray.init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
        with pytest.raises(HeadwayError, match=rf"^tune\.address: the Ray cluster {message}") as caught:
            opened("ray", shared, address=address).__enter__()
    assert "\n" not in str(caught.value)


def test_rays_client_without_its_package_is_one_line(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.executors.cluster.find_spec", lambda _: None)
    with pytest.raises(HeadwayError, match=r"^tune\.address: 'ray://head:10001' .*pip install 'ray\[client\]'"):
        opened("ray", shared, address="ray://head:10001").__enter__()


def test_a_malformed_ray_address_is_one_line(shared: Shared) -> None:
    with pytest.raises(
        HeadwayError, match=r"^tune\.address: 'nonsense' is not the address of a Ray cluster; expected host:"
    ):
        opened("ray", shared, address="nonsense").__enter__()


def test_without_ray_one_line_says_how_to_install_it(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HeadwayError, match=r"Ray is not installed .*pip install .*\.\[ray\]"):
        opened("ray", shared)


def test_no_engine_is_imported_before_it_is_chosen(repository: Path) -> None:
    program = "import sys, headway.executors; print({'ray', 'torch', 'joblib', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    for process in list(alive):
        if process.is_running() and process.status() == psutil.STATUS_ZOMBIE:
            alive.remove(process)
        else:
            process.kill()
    assert not alive


def test_what_a_process_has_sent_stays_until_the_caller_has_it() -> None:
    from headway.executors.gang import Member  # imports Ray

    member = Member()
    member._sent.extend("ab")
    assert member.sent(0) == ["a", "b"]
    assert member.sent(0) == ["a", "b"]  # the first answer was lost
    member._sent.append("c")
    assert member.sent(1) == ["b", "c"]
    assert member.sent(3) == []
