"""Scheduled retraining with a real Prefect server: deployments appear, run, and do not overlap."""

from __future__ import annotations

import re
import shutil
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_fixed

from flows import missed_runs
from headway.environment import VARIABLES
from tests.e2e.conftest import Clone, end, free_port, wait_for

pytestmark = pytest.mark.e2e


def is_busy(error: BaseException) -> bool:
    return isinstance(error, requests.HTTPError) and error.response.status_code == 503


@dataclass(frozen=True)
class Server:
    """A Prefect server, and the variables that another shell gets by `source server.env`."""

    variables: dict[str, str]

    @property
    def url(self) -> str:
        return self.variables["PREFECT_API_URL"]

    @retry(retry=retry_if_exception(is_busy), stop=stop_after_attempt(5), wait=wait_fixed(3), reraise=True)
    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Prefect's answer. While another process writes to its SQLite database for long, it answers 503, and is asked again."""
        user, _, password = self.variables["PREFECT_API_AUTH_STRING"].partition(":")
        method = "GET" if body is None else "POST"
        answer = requests.request(method, f"{self.url}/{path}", json=body, auth=(user, password), timeout=20)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def server(finished: tuple[Clone, str], prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server, started as the documentation says, in a shell without the variables that Headway sets."""
    ran, folder = finished[0], tmp_path_factory.mktemp("server")
    shutil.copytree(prefect_home, folder / "prefect")
    port, home, log = str(free_port()), folder / "prefect", folder / "server.log"
    switches = " ".join(VARIABLES)
    command = f"unset {switches}; exec headway server --port {port}"
    process = ran.start("bash", "-c", command, log=log, PREFECT_HOME=str(home))
    try:
        wait_for(lambda: "In other shells" in log.read_text(), 120, f"the server; the log is {log}")
        assert stat.S_IMODE((home / "server.env").stat().st_mode) == 0o600
        done = ran.run("bash", "-c", f"source {home / 'server.env'}; env")
        found = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("PREFECT_API_"))
        assert found["PREFECT_API_URL"] == f"http://127.0.0.1:{port}/api"
        yield Server({**found, "PREFECT_HOME": str(home)})
    finally:
        end(process, signal.SIGTERM)


def test_the_server_has_its_analytics_off(server: Server) -> None:
    assert server.ask("admin/settings")["server"]["analytics_enabled"] is False


def test_a_wrong_cron_expression_is_one_line(ran: Clone) -> None:
    done = ran.run("headway", "schedule", "--cron", "at three")
    assert done.returncode == 2
    assert "not a cron expression" in done.stderr.splitlines()[-1]


def test_a_scheduled_retraining_runs_and_an_overlapping_one_is_cancelled(ran: Clone, server: Server, tmp_path: Path) -> None:
    log = tmp_path / "schedule.log"
    # The first run has to train, so that it still runs when the second one is requested.
    warmup = re.search(r"  warmup_ratio: \S+", ran.layout.params.read_text())[0]
    ran.edit((warmup, "  warmup_ratio: 0.15"))
    schedule = ["headway", "schedule", "--cron", "0 3 * * *", "--timezone", "asia/kolkata"]
    serving = ran.start(*schedule, log=log, **server.variables)

    def deployment() -> Any:
        found = server.ask("deployments/filter", {})
        return found[0] if found else None

    def state(run: str) -> str:
        return str(server.ask(f"flow_runs/{run}")["state_type"])

    try:
        made = wait_for(deployment, 120, "the deployment")
        assert made["name"] == "retrain"
        (found,) = [schedule["schedule"] for schedule in made["schedules"]]
        assert (found["cron"], found["timezone"]) == ("0 3 * * *", "Asia/Kolkata")
        assert made["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        said = ran.run("headway", "status", **server.variables)
        assert said.returncode == 0, said.stderr
        assert re.search(r"^next run: \w{3} \d{4}-\d\d-\d\d .+, retrain$", said.stdout, re.MULTILINE)
        create = f"deployments/{made['id']}/create_flow_run"
        now = {"state": {"type": "SCHEDULED"}}
        first = server.ask(create, now)["id"]
        wait_for(lambda: state(first) == "RUNNING", 120, "the first run to begin")
        second = server.ask(create, now)["id"]
        wait_for(lambda: state(second) == "CANCELLED", 120, "the overlapping run to be cancelled")
        wait_for(lambda: state(first) not in ("RUNNING", "PENDING"), 300, "the first run to end")
        assert state(first) == "COMPLETED", log.read_text()[-3000:]
        keys = {artifact["key"] for artifact in server.ask("artifacts/filter", {})}
        assert {"headway-stages", "headway-metrics", "headway-decision"} <= keys
    finally:
        end(serving)
    assert missed_runs.find(ran.layout) == []
    (missed,) = missed_runs.find(ran.layout, datetime.now(UTC) + timedelta(days=2))
    assert f"process {serving.pid} has ended" in missed.remedy


def test_the_work_pools_schedule_is_made_and_its_worker_runs_the_flow_in_the_project(
    ran: Clone, server: Server, tmp_path: Path
) -> None:
    """The commands in the comment of prefect.yaml; the worker polls once."""
    commands = re.findall(r"^#   (prefect .+)$", (ran.root / "prefect.yaml").read_text(), re.MULTILINE)
    assert [command.split()[1:3] for command in commands] == [
        ["work-pool", "create"],
        ["--no-prompt", "deploy"],
        ["worker", "start"],
    ]
    environment = {**server.variables, "TZ": "Europe/Berlin"}
    for command in commands[:2]:
        done = ran.run(*command.split(), **environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (made,) = server.ask("deployments/filter", {})
    assert made["name"] == "retrain"
    assert made["work_pool_name"] == "headway"
    (schedule,) = [schedule["schedule"] for schedule in made["schedules"]]
    assert (schedule["cron"], schedule["timezone"]) == ("0 3 * * *", "Europe/Berlin")
    assert made["global_concurrency_limit"]["limit"] == 1
    assert made["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    run = server.ask(f"deployments/{made['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
    worked = ran.run(*commands[2].split(), "--run-once", **environment)
    printed = worked.stdout + worked.stderr
    assert worked.returncode == 0, printed[-3000:]
    assert server.ask(f"flow_runs/{run}")["state_type"] == "COMPLETED", printed[-3000:]
    assert "stays champion" in printed


def test_a_decision_by_hand_is_an_artifact_too(ran: Clone, server: Server) -> None:
    """The last test of the file, because it leaves no champion."""
    before = {artifact["id"] for artifact in server.ask("artifacts/filter", {})}
    done = ran.run("headway", "retire", "--reason", "too many complaints", **server.variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (artifact,) = (artifact for artifact in server.ask("artifacts/filter", {}) if artifact["id"] not in before)
    assert artifact["key"] == "headway-decision"
    assert re.search(r"^# version \d+ is retired: too many complaints$", artifact["data"], re.MULTILINE)
    assert "headway retire" in artifact["data"]
    assert server.ask(f"flow_runs/{artifact['flow_run_id']}")["state_type"] == "COMPLETED"
