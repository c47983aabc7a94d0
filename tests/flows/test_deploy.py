"""The schedule and the server that it needs, as far as neither has to run; and what the two files for Prefect say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows import deploy, server
from flows.pipeline import pipeline
from headway.errors import HeadwayError


@pytest.fixture(autouse=True)
def in_the_project(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def test_without_a_server_none_is_checked() -> None:
    server.check()


def test_a_schedule_without_a_server_says_how_to_start_one() -> None:
    with pytest.raises(HeadwayError, match=r"`prefect server start`, then `export PREFECT_API_URL=") as error:
        server.check(required=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("required", [False, True])
def test_a_named_server_that_is_away_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, required: bool) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api/")
    message = (
        r"^the Prefect server at http://127\.0\.0\.1:9/api does not answer \(.*refused\); start it, or unset PREFECT_API_URL"
    )
    with pytest.raises(HeadwayError, match=message):
        server.check(required)


@pytest.mark.parametrize("cron", ["at three", "", "61 3 * * *", "0 3 * *"])
def test_an_invalid_cron_expression_is_reported_before_a_server_is_contacted(cron: str) -> None:
    with pytest.raises(HeadwayError, match="not a cron expression; expected five fields"):
        deploy.serve(cron)


def test_the_flow_is_served_for_this_project_with_overlapping_runs_cancelled(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr(server, "check", lambda required: None)
    monkeypatch.setattr(type(pipeline), "serve", lambda flow, **options: served.update(options))
    deploy.serve("0 3 * * *")
    assert served["cron"] == "0 3 * * *"
    assert served["parameters"] == {"project": str(repository)}
    assert served["global_limit"].limit == 1
    assert served["global_limit"].collision_strategy == "CANCEL_NEW"


def test_the_work_pools_deployment_is_the_one_that_the_command_serves(repository: Path) -> None:
    (deployment,) = YAML(typ="safe").load(repository / "prefect.yaml")["deployments"]
    assert deployment["name"] == deploy.NAME
    file, _, name = deployment["entrypoint"].partition(":")
    assert (repository / file).is_file()
    assert name == pipeline.fn.__name__
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_prefects_own_command_sends_nothing_home_in_the_project(repository: Path, tmp_path: Path) -> None:
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
    assert "PREFECT_SERVER_ANALYTICS_ENABLED='False' (from prefect.toml)" in done.stdout, done.stdout + done.stderr
