"""Every engine runs the same batches, for real: two processes, a Dask cluster and a Ray cluster of two workers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from headway.errors import HeadwayError, Unreachable
from headway.executors import Executor, WorkerLost, executor
from headway.params import TuneParams
from headway.search.results import TrialResult
from headway.search.storage import open_storage
from headway.search.study import Search
from headway.search.trial import Task
from tests.search.conftest import DEFAULTS, Told, ignore, tune_params
from tests.search.works import Shared, collect, share, tasks, work

ENGINES = ["processes", "dask", "ray"]
PATIENCE = 30.0  # seconds for a busy machine; nothing waits that long when all is well

# A search that starts workers of the engine that it is given, says so, and then does not end.
SEARCH = """
import pathlib, sys, time
from headway.params import load
from headway.executors import executor
from tests.search.works import collect, share, tasks, work

if __name__ == "__main__":
    params = load(pathlib.Path(sys.argv[1])).tune.model_copy(update={"executor": sys.argv[2], "workers": 2})
    with executor(params, work, share(pathlib.Path(sys.argv[1]).parent), 1) as engine:
        collect(engine, tasks(0.1, 0.2))
        print("ready", flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def tune() -> TuneParams:
    return tune_params(workers=2, pruning=False, trials=5)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module", params=ENGINES)
def started(request: pytest.FixtureRequest, tune: TuneParams, shared: Shared) -> Iterator[Executor]:
    """Two workers, the same ones for all tests of an engine."""
    with executor(tune.model_copy(update={"executor": request.param}), work, shared, 1) as ready:
        yield ready


@pytest.fixture
def engine(started: Executor) -> Executor:
    """An engine that has got over what the test before did to its workers."""
    collect_all(started, tasks(0.1, 0.2))
    return started


def collect_all(engine: Executor, batch: list[Task]) -> list:
    """Outcomes alone: the batch is run again while it loses a worker, as to a task that an engine gave one that had just died."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        outcomes = collect(engine, batch)
        if not any(isinstance(outcome, WorkerLost) for outcome in outcomes):
            return outcomes
    pytest.fail("workers are lost again and again")


def scores(outcomes: list) -> list[float]:
    return [outcome.values[0] for outcome in outcomes]


def pids(outcomes: list) -> set[int]:
    return {int(outcome.curve[0]["pid"]) for outcome in outcomes}


def test_every_engine_returns_what_the_serial_one_returns_in_the_order_of_the_batch(
    engine: Executor, tune: TuneParams, shared: Shared
) -> None:
    batch = tasks(0.1, 0.2, 0.3, 0.4, 0.5)
    with executor(tune, work, shared, 1) as serial:
        expected = scores(collect(serial, batch))
    assert engine.workers == 2
    assert scores(collect(engine, batch)) == expected
    assert len(set(expected)) == 5


def test_work_is_done_in_other_processes(engine: Executor) -> None:
    assert os.getpid() not in pids(collect(engine, tasks(0.1, 0.2, 0.3)))


def test_two_tasks_run_at_the_same_time(engine: Executor, tmp_path: Path) -> None:
    outcomes = collect(engine, tasks(f"meet {tmp_path}", f"meet {tmp_path}"))
    assert len(pids(outcomes)) == 2  # each waited for the other


def test_a_worker_killed_with_kill_9_loses_its_own_task_and_no_other(engine: Executor) -> None:
    lost, *kept = collect(engine, tasks("die", 0.2, 0.3, 0.4))
    assert isinstance(lost, WorkerLost)
    assert "\n" not in str(lost)
    assert scores(kept) == scores(collect_all(engine, tasks(0.2, 0.3, 0.4)))


def test_when_every_worker_is_killed_new_ones_know_what_is_shared(engine: Executor) -> None:
    before = scores(collect(engine, tasks(0.1, 0.2)))
    assert all(isinstance(outcome, WorkerLost) for outcome in collect(engine, tasks("die", "die")))
    assert scores(collect_all(engine, tasks(0.1, 0.2))) == before


def test_a_worker_that_is_killed_between_batches_loses_nothing(engine: Executor) -> None:
    before = collect(engine, tasks(0.1, 0.2))
    for pid in pids(before):
        os.kill(pid, signal.SIGKILL)
        wait_until_gone([psutil.Process(pid)] if psutil.pid_exists(pid) else [])
    assert scores(collect_all(engine, tasks(0.1, 0.2))) == scores(before)


def test_what_the_work_raises_is_raised_and_the_next_batch_runs(engine: Executor) -> None:
    with pytest.raises(HeadwayError, match="trial 1 is a mistake"):
        collect(engine, tasks(0.1, "raise"))
    assert len(scores(collect(engine, tasks(0.1, 0.2)))) == 2


def test_a_mistake_that_cannot_travel_is_told_by_one_that_can(tune: TuneParams, shared: Shared) -> None:
    with (
        pytest.raises(RuntimeError, match=r"^Odd: left and right") as raised,
        executor(tune.model_copy(update={"executor": "processes"}), work, shared, 1) as engine,
    ):
        collect(engine, tasks("odd"))
    assert "works.py" in raised.value.__notes__[0]


@pytest.mark.parametrize("name", ["processes", "dask"])
def test_what_is_shared_reaches_each_worker_once(name: str, tune: TuneParams, tmp_path: Path) -> None:
    """Ray's workers look at it in its store, anew for each task, without a copy."""
    with executor(tune.model_copy(update={"executor": name}), work, share(tmp_path), 1) as engine:
        for _ in range(2):
            assert len(scores(collect(engine, tasks(0.1, 0.2, 0.3, 0.4)))) == 4
    assert (tmp_path / "arrivals").read_text().count("another") == 2


def test_what_the_listener_raises_ends_the_batch_and_the_next_one_runs(engine: Executor, tmp_path: Path) -> None:
    def done(position: int, outcome: object) -> None:
        assert position == 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(tasks(0.1, f"wait {tmp_path / 'file'}"), lambda _: None, done)
    (tmp_path / "file").touch()
    assert len(scores(collect(engine, tasks(0.1, 0.2)))) == 2


def test_a_search_is_the_same_on_every_engine_and_when_a_worker_is_killed_in_it(
    engine: Executor, tune: TuneParams, shared: Shared, tmp_path: Path
) -> None:
    with executor(tune, work, shared, 1) as serial:
        expected, _ = study(tmp_path / "serial", tune, serial)
    undisturbed, told = study(tmp_path / "undisturbed", tune, engine)
    assert undisturbed == expected
    assert not [line for line in told.lines if "once more" in line]

    (shared.folder / "die 3").touch()
    disturbed, told = study(tmp_path / "disturbed", tune, engine)
    assert disturbed == expected
    assert [line.split(":")[0] for line in told.lines if "once more" in line] == ["trial 3"]


def test_a_trial_that_kills_two_workers_has_failed_and_the_search_goes_on(
    engine: Executor, tune: TuneParams, shared: Shared, tmp_path: Path
) -> None:
    class Deadly(Told):
        def began(self, task: Task) -> None:
            super().began(task)
            if task.number == 1:
                (shared.folder / "die 1").touch()

    search = Search(tune, DEFAULTS, 1, open_storage("", tmp_path / "journal"), "test")
    trials = search.run(engine, Deadly(), ignore)
    assert [trial.state for trial in trials] == ["complete", "failed", "complete", "complete", "complete"]
    assert "interrupted twice" in trials[1].reason


def study(journal: Path, params: TuneParams, engine: Executor) -> tuple[list[tuple[int, dict, float | None]], Told]:
    """Number, point and score of a search's trials, and what it said."""
    told = Told()
    trials: list[TrialResult] = Search(params, DEFAULTS, 1, open_storage("", journal), "test").run(engine, told, ignore)
    return [(trial.number, trial.point, trial.score) for trial in trials], told


def test_an_empty_batch_ends_at_once(engine: Executor) -> None:
    assert collect(engine, []) == []


def test_processes_tell_of_each_epoch_while_the_task_runs(tune: TuneParams, shared: Shared) -> None:
    told: list[tuple[str, int]] = []
    with executor(tune.model_copy(update={"executor": "processes"}), work, shared, 1) as engine:
        engine.run(
            tasks(0.1, 0.2),
            lambda position: told.append(("started", position)),
            lambda position, outcome: told.append(("done", position)),
            lambda position, entry: told.append(("epoch", position)),
        )
    for position in (0, 1):
        assert [what for what, where in told if where == position] == ["started", "epoch", "done"]


def test_the_processes_of_a_search_are_gone_when_its_block_ends(tune: TuneParams, shared: Shared) -> None:
    with executor(tune.model_copy(update={"executor": "processes"}), work, shared, 1) as engine:
        workers = [psutil.Process(pid) for pid in pids(collect(engine, tasks(0.1, 0.2)))]
    wait_until_gone(workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.parametrize("name", ["processes", "dask"])
def test_workers_end_with_a_search_that_is_killed_with_kill_9(name: str, repository: Path, tmp_path: Path) -> None:
    params = shutil.copy(repository / "params.yaml", tmp_path)
    command = [sys.executable, "-c", SEARCH, str(params), name]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) as search:
        assert search.stdout
        assert search.stdout.readline() == b"ready\n"
        family = psutil.Process(search.pid).children(recursive=True)
        search.kill()
    assert len(family) >= 2
    wait_until_gone(family)


def test_what_a_ray_that_was_killed_left_is_removed_and_what_a_living_one_needs_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.executors import on_ray

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(on_ray, "TEMPORARY", tmp_path)
    kept = [f"headway-ray-{os.getpid()}-ab", "headway-ray-x-ab", "headway-abc", f"other-{gone.pid}-ab"]
    for name in (*kept, f"headway-ray-{gone.pid}-ab"):
        (tmp_path / name / "session").mkdir(parents=True)
    on_ray.remove_left()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(kept)


def test_what_a_search_that_was_killed_left_with_a_dask_cluster_is_taken_off_it(tune: TuneParams, shared: Shared) -> None:
    from distributed import Client, LocalCluster

    from headway.executors.on_dask import Loaded, _machine

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = f"headway-{gone.pid}-ab-{_machine()}"
    kept = {
        f"headway-{os.getpid()}-ab-{_machine()}",
        f"headway-{gone.pid}-ab-elsewhere",
        f"other-{gone.pid}-ab-{_machine()}",
    }
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        before = {*client.run_on_scheduler(lambda dask_scheduler: [*map(str, dask_scheduler.worker_plugins)])}
        for name in (*kept, left):
            client.register_plugin(Loaded(work, shared), name=name)
        chosen = tune.model_copy(update={"executor": "dask", "address": cluster.scheduler_address})
        with executor(chosen, work, shared, 1):
            pass
        after = {*client.run_on_scheduler(lambda dask_scheduler: [*map(str, dask_scheduler.worker_plugins)])}
    assert after == before | kept


def test_two_searches_on_one_dask_cluster_never_train_side_by_side_in_a_worker(
    tune: TuneParams, shared: Shared, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    inside, free = tmp_path / "inside", tmp_path / "free"
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as cluster:
        chosen = tune.model_copy(update={"executor": "dask", "address": cluster.scheduler_address})

        def search() -> list:
            with executor(chosen, work, shared, 1) as engine:
                return collect(engine, tasks(f"alone {inside} {free}"))

        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(search) for _ in range(2)]
            time.sleep(2.0)  # for both to have come that far; too little of it lets no good code fail
            free.touch()
            outcomes = [outcome for found in both for outcome in found.result(PATIENCE)]
    assert len(pids(outcomes)) == 1


@pytest.mark.parametrize(("name", "address"), [("dask", "tcp://127.0.0.1:9"), ("dask", "nonsense"), ("ray", "127.0.0.1:9")])
def test_a_cluster_that_does_not_answer_is_one_line(
    name: str, address: str, tune: TuneParams, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.executors.on_dask.SECONDS_TO_CONNECT", 0.5)
    chosen = tune.model_copy(update={"executor": name, "address": address})
    with pytest.raises(Unreachable, match=r"^tune.address: the \w+ cluster does not answer .*; start it, and run again$"):
        executor(chosen, work, shared, 1).__enter__()


def test_a_dask_cluster_that_goes_away_in_the_middle_is_one_line(
    tune: TuneParams, shared: Shared, tmp_path: Path, repository: Path
) -> None:
    program = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=1, threads_per_worker=1, host='127.0.0.1', dashboard_address=None)\n"
        "    print(cluster.scheduler_address, flush=True)\n"
        "    input()\n"
    )
    (tmp_path / "cluster.py").write_text(program)
    command = [sys.executable, str(tmp_path / "cluster.py")]
    places = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": repository}
    knows_tests = {**os.environ, "PYTHONPATH": str(repository)}
    with subprocess.Popen(command, text=True, start_new_session=True, env=knows_tests, **places) as cluster:
        chosen = tune.model_copy(update={"executor": "dask", "address": cluster.stdout.readline().strip()})
        try:
            with (
                pytest.raises(Unreachable, match=r"^tune\.address: the Dask cluster does not answer "),
                executor(chosen, work, shared, 1) as engine,
            ):
                engine.run(tasks(f"wait {tmp_path / 'never'}"), lambda _: os.killpg(cluster.pid, signal.SIGKILL), lost)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(cluster.pid, signal.SIGKILL)


def lost(position: int, outcome: object) -> None:
    assert isinstance(outcome, WorkerLost), outcome


def test_a_ray_cluster_that_answers_and_refuses_is_one_line_about_its_token(
    tune: TuneParams, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("InvalidAuthToken")

    monkeypatch.setattr("headway.executors.on_ray.engine.init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
        for form in (address, f"ray://{address}"):
            chosen = tune.model_copy(update={"executor": "ray", "address": form})
            with pytest.raises(Unreachable, match=r"^tune\.address: .* refuses .*InvalidAuthToken.* RAY_AUTH_MODE=token"):
                executor(chosen, work, shared, 1).__enter__()


def test_what_is_no_address_of_a_ray_cluster_is_one_line(tune: TuneParams, shared: Shared) -> None:
    chosen = tune.model_copy(update={"executor": "ray", "address": "nonsense"})
    with pytest.raises(
        HeadwayError, match=r"^tune\.address: 'nonsense' is no address of a Ray cluster; expected host:6379 or ray:"
    ):
        executor(chosen, work, shared, 1).__enter__()


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_is_one_line_that_says_how_to_install_it(
    name: str, package: str, tune: TuneParams, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"headway.search.on_{name}", raising=False)
    with pytest.raises(HeadwayError, match=rf"{name} is not installed .*pip install .*\.\[{name}\]"):
        executor(tune.model_copy(update={"executor": name}), work, shared, 1)


def test_no_engine_is_imported_before_it_is_chosen(repository: Path) -> None:
    program = "import sys, headway.executors; print({'ray', 'distributed', 'torch', 'joblib'} & set(sys.modules))"
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
