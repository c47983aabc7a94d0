"""The schedule and the server that it needs, as far as neither has to run; and what the two files for Prefect say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from prefect.context import refresh_global_settings_context
from prefect.events import DeploymentEventTrigger
from ruamel.yaml import YAML

from flows import deploy, local_server, missed_runs, server, timezones
from flows.monitor import monitor
from flows.pipeline import pipeline
from headway import preflight
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import load


@pytest.fixture(autouse=True)
def in_the_project(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the project's folder, with a home of Prefect's own and no server."""
    monkeypatch.chdir(repository)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setattr(missed_runs, "RECORD", str(tmp_path / missed_runs.RECORD))
    refresh_global_settings_context()
    yield
    monkeypatch.undo()
    refresh_global_settings_context()


def test_without_a_server_none_is_checked() -> None:
    server.check()


def test_a_named_server_that_is_away_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api/")
    refresh_global_settings_context()
    message = (
        r"^the Prefect server at http://127\.0\.0\.1:9/api does not answer \(.*refused\); start it, or unset PREFECT_API_URL"
    )
    with pytest.raises(HeadwayError, match=message):
        server.check()


def test_a_server_named_in_a_profile_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "prefect").mkdir(exist_ok=True)
    (tmp_path / "prefect" / "profiles.toml").write_text(
        'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    )
    refresh_global_settings_context()
    with pytest.raises(HeadwayError, match=r"http://127\.0\.0\.1:9/api does not answer"), server.connected():
        pass


def test_a_socks_proxy_that_prefect_cannot_use_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@proxy.example:1080")
    with pytest.raises(HeadwayError, match=r"socks5://proxy\.example:1080 needs a package .*pip install socksio"):
        server.check()


@pytest.mark.parametrize("cron", ["at three", "", "61 3 * * *", "0 3 * *"])
def test_an_invalid_cron_expression_is_reported_before_a_server_is_started(cron: str) -> None:
    with pytest.raises(HeadwayError, match="not a cron expression; expected five fields"):
        deploy.serve(cron)


def test_an_invalid_time_zone_is_reported_before_a_server_is_started() -> None:
    with pytest.raises(HeadwayError, match="no such time zone"):
        deploy.serve("0 3 * * *", "Atlantis")


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the scheduler is asked for, instead of a server and a scheduler."""
    asked: dict[str, Any] = {}

    async def nothing(scheduler: deploy.Scheduler) -> None:
        pass

    monkeypatch.setattr(server, "connected_for_a_schedule", lambda port: nullcontext())
    monkeypatch.setattr(deploy.Scheduler, "add_flow", lambda scheduler, flow, **options: asked.update(options))
    monkeypatch.setattr(deploy, "_run_until_a_signal", nothing)
    monkeypatch.setattr(deploy, "raise_on_termination", lambda: None)
    return asked


@pytest.fixture
def in_a_project_with_a_log(project: Layout, monkeypatch: pytest.MonkeyPatch) -> Layout:
    text = project.params.read_text(encoding="utf-8")
    project.params.write_text(text.replace('    folder: ""  ', "    folder: log "), encoding="utf-8")
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(preflight, "check", lambda layout: load(layout.params))
    return project


def test_the_flow_is_served_for_this_project_with_overlapping_runs_cancelled(
    repository: Path, scheduled: dict[str, Any]
) -> None:
    deploy.serve("0 3 * * *")
    assert scheduled["schedule"].cron == "0 3 * * *"
    assert scheduled["parameters"] == {"project": str(repository)}
    assert scheduled["concurrency_limit"].limit == 1
    assert scheduled["concurrency_limit"].collision_strategy == "CANCEL_NEW"


def test_the_schedule_is_in_the_machines_zone_or_the_named_one(
    monkeypatch: pytest.MonkeyPatch, scheduled: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timezones, "local", lambda: "Asia/Kolkata")
    deploy.serve("0 3 * * *")
    assert scheduled["schedule"].timezone == "Asia/Kolkata"
    lines = capsys.readouterr().out.splitlines()
    assert "Asia/Kolkata" in lines[0]
    assert len(lines) == 4
    assert all(re.fullmatch(r"  \w{3} \d{4}-\d\d-\d\d 03:00 \+05:30", line) for line in lines[1:])
    deploy.serve("0 3 * * *", "europe/berlin")
    assert scheduled["schedule"].timezone == "Europe/Berlin"


def test_nothing_is_monitored_and_nothing_triggers_unless_it_is_asked(
    scheduled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(deploy.Scheduler, "add_flow", lambda _, flow, **options: served.update({options["name"]: options}))
    deploy.serve("0 3 * * *")
    assert list(served) == ["retrain"]
    assert served["retrain"]["triggers"] is None


def test_monitoring_is_served_too_and_its_alarm_starts_a_retraining(
    in_a_project_with_a_log: Layout,
    scheduled: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(
        deploy.Scheduler, "add_flow", lambda _, flow, **options: served.update({options["name"]: (flow.name, options)})
    )
    deploy.serve("0 3 * * *", "UTC", monitor_cron="30 * * * *")
    flow, options = served["monitor"]
    assert flow == "headway-monitor"
    assert (options["schedule"].cron, options["schedule"].timezone) == ("30 * * * *", "UTC")
    assert options["parameters"] == {"project": str(in_a_project_with_a_log.root)}
    assert options["concurrency_limit"].collision_strategy == "CANCEL_NEW"
    (trigger,) = served["retrain"][1]["triggers"]
    assert trigger.expect == {"headway.monitor.alarm"}
    assert trigger.match.model_dump() == {"prefect.resource.id": "headway.model.headway"}
    assert (trigger.threshold, trigger.within.days) == (1, 1)
    assert 'Monitoring at "30 * * * *" in the time zone UTC' in capsys.readouterr().out


def test_monitoring_without_a_log_or_at_no_time_is_refused(
    in_a_project_with_a_log: Layout, scheduled: dict[str, Any]
) -> None:
    with pytest.raises(HeadwayError, match="--monitor 'hourly': not a cron expression"):
        deploy.serve("0 3 * * *", monitor_cron="hourly")
    params = in_a_project_with_a_log.params
    params.write_text(params.read_text(encoding="utf-8").replace("    folder: log ", '    folder: ""  '), encoding="utf-8")
    with pytest.raises(HeadwayError, match=r"--monitor: serving\.log\.folder is empty"):
        deploy.serve("0 3 * * *", monitor_cron="30 * * * *")
    assert scheduled == {}


def test_the_work_pools_deployment_is_the_one_that_the_command_serves(repository: Path) -> None:
    deployments = YAML(typ="safe").load(repository / "prefect.yaml")["deployments"]
    assert [deployment["name"] for deployment in deployments] == [deploy.NAME, deploy.MONITOR]
    for deployment, flow in zip(deployments, (pipeline, monitor), strict=True):
        file, _, name = deployment["entrypoint"].partition(":")
        assert (repository / file).is_file()
        assert name == flow.fn.__name__
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        (step,) = deployment["build"]
        (options,) = step.values()
        assert options["script"] == "python -m flows.timezones"
        assert [schedule["timezone"] for schedule in deployment["schedules"]] == [f"{{{{ {options['id']}.stdout }}}}"]


def test_the_work_pools_retraining_follows_an_alarm_as_the_command_does(repository: Path) -> None:
    retrain, _ = YAML(typ="safe").load(repository / "prefect.yaml")["deployments"]
    (written,) = [DeploymentEventTrigger(**{"name": "", **one}) for one in retrain["triggers"]]
    own = deploy._after_an_alarm("*")
    same = {"expect", "match", "posture", "threshold", "within", "enabled"}
    assert written.model_dump(include=same) == own.model_dump(include=same)


def test_prefects_own_command_in_the_project_has_the_projects_settings(repository: Path, tmp_path: Path) -> None:
    """As in a shell of a person's own, in which none of our switches is set."""
    programs = Path(sys.executable).parent
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run(
        [programs / "prefect", "config", "view"],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    for setting in (
        "PREFECT_SERVER_ANALYTICS_ENABLED='False'",
        # A crash of server and run together leaves no concurrency slot taken for good.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE='prefect.server.concurrency.lease_storage.filesystem'",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS='http://127.0.0.1:4200,http://localhost:4200'",
    ):
        assert f"{setting} (from prefect.toml)" in done.stdout, done.stdout + done.stderr


def sourced(folder: Path, command: str, **variables: str) -> str:
    """What a command prints in a shell that has read the ``server.env`` in a folder."""
    local_server._write(folder, local_server.Address("http://127.0.0.1:9/api", "headway:secret"))
    done = subprocess.run(
        ["sh", "-euc", f". {folder}/{local_server.CREDENTIALS}; {command}"],
        env={"PATH": os.environ["PATH"], "HOME": str(folder.parent), **variables},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("forgotten", ["", "unset PREFECT_HOME; "], ids=["with its home", "address alone"])
def test_the_file_with_the_password_does_not_move_the_project_to_another_home(
    repository: Path, tmp_path: Path, forgotten: str
) -> None:
    home = tmp_path / ".headway" / "prefect"
    home.mkdir(parents=True)
    (tmp_path / "flows").mkdir()
    shutil.copyfile(repository / "flows" / "__init__.py", tmp_path / "flows" / "__init__.py")
    show = f"{sys.executable} -c 'import flows, os; print(os.environ[\"PREFECT_HOME\"])'"
    assert sourced(home, forgotten + show, PYTHONPATH=str(tmp_path)) == f"{home}\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "|"),
        ({"HTTPS_PROXY": "http://p"}, "{0}|{0}"),
        ({"all_proxy": "http://p", "NO_PROXY": ".corp", "no_proxy": "10.0.0.1"}, "10.0.0.1,.corp,{0}|10.0.0.1,.corp,{0}"),
        ({"http_proxy": "http://p", "NO_PROXY": "*"}, "*|*"),
    ],
)
def test_the_file_with_the_password_keeps_this_machine_off_the_proxy(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    again = f". {tmp_path}/{local_server.CREDENTIALS}; "
    printed = sourced(tmp_path, f'{again} echo "${{no_proxy-}}|${{NO_PROXY-}}"', **variables)
    assert printed == expected.format("localhost,127.0.0.1,::1") + "\n"
