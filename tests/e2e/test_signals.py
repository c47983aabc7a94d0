"""Whatever ends a flow or a scheduler, everything that it started ends with it. Real signals throughout."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows import missed_runs
from tests.e2e.conftest import Clone, end, wait_for
from tests.e2e.hanging import Api, new_hanging_clone, processes, servers, wait_for_the_schedule, wait_until_it_hangs

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hanging(repository: Path, prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return new_hanging_clone(repository, tmp_path_factory.mktemp("hanging") / "clone", prefect_home)


def statuses(clone: Clone) -> list[str]:
    """The MLflow status of the flow's run and of its stage's run, of the last flow."""
    tracker = clone.tracker()
    return [run.info.status for run in tracker.client.search_runs([tracker.experiment_id])]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGKILL,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
    ids=lambda number: number.name,
)
def test_the_embedded_server_ends_with_its_flow(hanging: Clone, tmp_path: Path, number: signal.Signals) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ends a stage with its flow")
    (hanging.root / "hangs").unlink(missing_ok=True)
    log = tmp_path / "run.log"
    flow = hanging.start("headway", "run", log=log)
    try:
        wait_until_it_hangs(hanging, log)
        (server,) = servers(hanging)
        ports = [connection.laddr.port for connection in server.net_connections("tcp") if connection.status == "LISTEN"]
        assert len(ports) == 1
        flow.send_signal(number)
        status = flow.wait(60)
        _, alive = psutil.wait_procs([server], timeout=10)
        assert not alive
        wait_for(lambda: not processes(hanging), 20, "the stage's processes to end")
    finally:
        end(flow)
    printed = log.read_text()
    if number == signal.SIGKILL:
        return  # the next flow marks its runs as KILLED
    assert status == {signal.SIGINT: 130}.get(number, 128 + number), printed[-2000:]
    assert "Traceback" not in printed
    assert set(statuses(hanging)) == {"KILLED"}


def test_a_flow_that_is_ended_while_its_server_starts_leaves_nothing(hanging: Clone, tmp_path: Path) -> None:
    flow = hanging.start("headway", "run", log=tmp_path / "run.log")
    try:
        (server,) = wait_for(lambda: servers(hanging), 120, "the server's process")
        flow.send_signal(signal.SIGTERM)
        assert flow.wait(60) == 128 + signal.SIGTERM
        _, alive = psutil.wait_procs([server], timeout=10)
        assert not alive
    finally:
        end(flow)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
    ids=lambda number: number.name,
)
def test_an_ended_scheduler_leaves_no_active_schedule_and_no_process(
    hanging: Clone, tmp_path: Path, number: signal.Signals
) -> None:
    """With a run in progress. The database of the project's own server, which has ended too, says what is left."""
    (hanging.root / "hangs").unlink(missing_ok=True)
    log = tmp_path / "schedule.log"
    scheduler = hanging.start("headway", "schedule", "--cron", "0 3 * * *", log=log)
    try:
        api, deployment = wait_for_the_schedule(hanging, log)
        run = api.run_now(deployment)
        wait_until_it_hangs(hanging, log)
        scheduler.send_signal(number)
        assert scheduler.wait(90) == 0, log.read_text()[-2000:]
        assert not (hanging.layout.scratch / missed_runs.RECORD).exists()
        wait_for(lambda: not processes(hanging), 20, "the processes of the scheduler to end")
        assert not servers(hanging)
    finally:
        end(scheduler)
    assert "Traceback" not in log.read_text()
    with closing(sqlite3.connect(hanging.root / ".headway" / "prefect" / "prefect.db")) as database:
        assert database.execute("SELECT paused FROM deployment").fetchall() == [(1,)]
        ((state,),) = database.execute("SELECT state_type FROM flow_run WHERE id = ?", (run,)).fetchall()
    assert state in ("CRASHED", "CANCELLED")
    assert set(statuses(hanging)) == {"KILLED"}


def test_a_server_that_is_ended_leaves_no_process_and_says_that_the_schedule_is_not_active(
    hanging: Clone, tmp_path: Path
) -> None:
    """After the schedulers of the tests above."""
    log = tmp_path / "server.log"
    server = hanging.start("headway", "server", log=log)
    try:
        wait_for(lambda: "In other shells" in log.read_text(), 120, "the server")
        deployment = Api(hanging).deployment()
        assert deployment is None or deployment["paused"] is True
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 128 + signal.SIGTERM
        assert not servers(hanging)
    finally:
        end(server)


@pytest.mark.slow
def test_a_crash_leaves_no_concurrency_slot_taken(hanging: Clone, tmp_path: Path) -> None:
    """First of the run alone, then of server, scheduler and run together, as when the power fails."""
    (hanging.root / "hangs").unlink(missing_ok=True)
    log = tmp_path / "schedule.log"
    scheduler = hanging.start("headway", "schedule", "--cron", "0 3 * * *", log=log)
    try:
        api, deployment = wait_for_the_schedule(hanging, log)
        first = api.run_now(deployment)
        wait_until_it_hangs(hanging, log)
        overlapping = api.run_now(deployment)
        wait_for(lambda: api.state(overlapping) == "CANCELLED", 60, "the overlapping run to be cancelled")
        assert api.slots_taken() == 1
        flow_of_the_stage(hanging, scheduler.pid).kill()
        wait_for(lambda: api.state(first) == "CRASHED", 60, "the run to be reported as crashed")
        wait_for(lambda: api.slots_taken() == 0, 60, "the slot of the crashed run")
        (hanging.root / "hangs").unlink()
        api.run_now(deployment)
        wait_until_it_hangs(hanging, log)
        assert api.slots_taken() == 1
    finally:
        for process in [scheduler, *servers(hanging), *processes(hanging)]:
            process.kill()
        scheduler.wait(30)
    let_leases_expire(hanging.root / ".headway" / "prefect" / "concurrency_leases")
    (hanging.root / "hangs").unlink()
    scheduler = hanging.start("headway", "schedule", "--cron", "0 3 * * *", log=tmp_path / "again.log")
    try:
        api, deployment = wait_for_the_schedule(hanging, tmp_path / "again.log")
        wait_for(lambda: api.slots_taken() == 0, 60, "the slot of the run that was killed with its server")
        following = api.run_now(deployment)
        wait_until_it_hangs(hanging, tmp_path / "again.log")
        assert api.state(following) == "RUNNING"
    finally:
        scheduler.send_signal(signal.SIGTERM)
        scheduler.wait(90)


def flow_of_the_stage(clone: Clone, scheduler: int) -> psutil.Process:
    """The scheduler's own child among the ancestors of the hanging stage."""
    (stage, *_) = [process for process in processes(clone) if "hang.py" in process.cmdline()]
    (flow,) = [process for process in stage.parents() if process.ppid() == scheduler]
    return flow


def let_leases_expire(folder: Path) -> None:
    """What five minutes do: Prefect renews the lease of a running flow for that long, and has no setting for it."""
    past = "2020-01-01T00:00:00+00:00"
    index = folder / "expirations.json"
    leases = list(json.loads(index.read_text()))
    assert leases, "the lease of the run was not kept in a file"
    for lease in leases:
        file = folder / f"{lease}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"expiration": past}))
    index.write_text(json.dumps(dict.fromkeys(leases, past)))
