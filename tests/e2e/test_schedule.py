"""Scheduled retraining with a real Prefect server: deployments appear, run, and do not overlap."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_fixed

from headway.environment import VARIABLES
from tests.e2e.conftest import Clone, end, free_port, wait_for

pytestmark = pytest.mark.e2e


def is_busy(error: BaseException) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code == 503


@retry(retry=retry_if_exception(is_busy), stop=stop_after_attempt(5), wait=wait_fixed(3), reraise=True)
def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Prefect's answer. While another process writes to its SQLite database for long, it answers 503, and is asked again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.fixture
def server(ran: Clone, tmp_path: Path) -> Iterator[str]:
    """The URL of a new Prefect server, started as the documentation says, in a shell without the variables that Headway sets."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_API_PORT": str(port), "PREFECT_API_URL": url}
    switches = " ".join(VARIABLES)
    try:
        started = ran.run("bash", "-c", f"unset {switches}; prefect server start --background", **environment)
        assert started.returncode == 0, started.stdout[-2000:] + started.stderr[-2000:]
        waited = ran.run("prefect", "server", "status", "--wait", "--timeout", "120", **environment)
        assert waited.returncode == 0, waited.stdout[-2000:] + waited.stderr[-2000:]
        yield url
    finally:
        ran.run("prefect", "server", "stop", **environment)


def test_the_server_has_its_analytics_off(server: str) -> None:
    assert ask(f"{server}/admin/settings")["server"]["analytics_enabled"] is False


def test_a_schedule_needs_a_server_and_says_how_to_start_one(ran: Clone) -> None:
    done = ran.run("headway", "schedule", "--cron", "0 3 * * *")
    assert done.returncode == 2
    assert "prefect server start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_cron_expression_is_one_line(ran: Clone) -> None:
    done = ran.run("headway", "schedule", "--cron", "at three")
    assert done.returncode == 2
    assert "not a cron expression" in done.stderr.splitlines()[-1]


def test_a_scheduled_retraining_runs_and_an_overlapping_one_is_cancelled(ran: Clone, server: str, tmp_path: Path) -> None:
    log = tmp_path / "schedule.log"
    # The first run has to train, so that it still runs when the second one is requested.
    warmup = re.search(r"  warmup_ratio: [0-9.]+", ran.layout.params.read_text())[0]
    ran.edit((warmup, "  warmup_ratio: 0.15"))
    serving = ran.start("headway", "schedule", "--cron", "0 3 * * *", log=log, PREFECT_API_URL=server)

    def deployment() -> Any:
        found = ask(f"{server}/deployments/filter", {})
        return found[0] if found else None

    def state(run: str) -> str:
        return str(ask(f"{server}/flow_runs/{run}")["state_type"])

    try:
        made = wait_for(deployment, 120, "the deployment")
        assert made["name"] == "retrain"
        assert made["schedules"][0]["schedule"]["cron"] == "0 3 * * *"
        assert made["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        create = f"{server}/deployments/{made['id']}/create_flow_run"
        now = {"state": {"type": "SCHEDULED"}}
        first = ask(create, now)["id"]
        wait_for(lambda: state(first) == "RUNNING", 120, "the first run to begin")
        second = ask(create, now)["id"]
        wait_for(lambda: state(second) == "CANCELLED", 120, "the overlapping run to be cancelled")
        wait_for(lambda: state(first) not in ("RUNNING", "PENDING"), 300, "the first run to end")
        assert state(first) == "COMPLETED", log.read_text()[-3000:]
        keys = {artifact["key"] for artifact in ask(f"{server}/artifacts/filter", {})}
        assert {"headway-stages", "headway-metrics", "headway-decision"} <= keys
    finally:
        end(serving)


def test_the_work_pools_schedule_is_made_and_its_worker_runs_the_flow_in_the_project(
    ran: Clone, server: str, tmp_path: Path
) -> None:
    """The commands in the comment of prefect.yaml; the worker polls once."""
    commands = re.findall(r"^#   (prefect .+)$", (ran.root / "prefect.yaml").read_text(), re.MULTILINE)
    assert [command.split()[1:3] for command in commands] == [
        ["work-pool", "create"],
        ["--no-prompt", "deploy"],
        ["worker", "start"],
    ]
    environment = {"PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path / "prefect")}
    for command in commands[:2]:
        done = ran.run(*command.split(), **environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (made,) = ask(f"{server}/deployments/filter", {})
    assert made["name"] == "retrain"
    assert made["work_pool_name"] == "headway"
    assert [schedule["schedule"]["cron"] for schedule in made["schedules"]] == ["0 3 * * *"]
    assert made["global_concurrency_limit"]["limit"] == 1
    assert made["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    run = ask(f"{server}/deployments/{made['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
    worked = ran.run(*commands[2].split(), "--run-once", **environment)
    printed = worked.stdout + worked.stderr
    assert worked.returncode == 0, printed[-3000:]
    assert ask(f"{server}/flow_runs/{run}")["state_type"] == "COMPLETED", printed[-3000:]
    assert "stays champion" in printed


def test_a_decision_by_hand_is_an_artifact_too(ran: Clone, server: str) -> None:
    """The last test of the file, because it leaves no champion."""
    done = ran.run("headway", "retire", "--reason", "too many complaints", PREFECT_API_URL=server)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (artifact,) = ask(f"{server}/artifacts/filter", {})
    assert artifact["key"] == "headway-decision"
    assert re.search(r"^# version \d+ is retired: too many complaints$", artifact["data"], re.MULTILINE)
    assert '"reason": "too many complaints"' in artifact["data"]
    assert ask(f"{server}/flow_runs/{artifact['flow_run_id']}")["state_type"] == "COMPLETED"
