"""A copy of the project whose first stage opens the pipeline's MLflow run and then hangs, so that a flow can be ended in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.e2e.conftest import Clone, new_clone, wait_for

STAGE = """
import time
from pathlib import Path
from headway.layout import Layout
from headway.params import load
from headway.process import die_with_dvc
from headway.tracking import Tracker

die_with_dvc()  # as Headway's stages do
layout = Layout.find()
with Tracker(load(layout.params), layout).nested("training", "hanging", "hanging"):
    Path("hangs").touch()
    time.sleep(600)
"""


def new_hanging_clone(repository: Path, root: Path, prefect_home: Path) -> Clone:
    clone = new_clone(repository, root, prefect_home)
    clone.environment["SHELL"] = "/bin/sh"  # which may stay between DVC and the stage, unlike bash
    (root / "hang.py").write_text(STAGE)
    graph = (root / "dvc.yaml").read_text()
    changed = re.sub(r"(  ingest:\n(?:.*\n)*?    cmd: ).*\n", r"\g<1>python hang.py\n", graph, count=1)
    assert changed != graph
    (root / "dvc.yaml").write_text(changed)
    return clone


def wait_until_it_hangs(clone: Clone, log: Path) -> None:
    wait_for(lambda: (clone.root / "hangs").exists(), 240, f"the stage; the log is {log}")


def servers(clone: Clone) -> list[psutil.Process]:
    """The Prefect servers that were started for this project, orphans included."""
    found = []
    for process in psutil.process_iter():
        try:
            words, home = process.cmdline(), process.environ().get("PREFECT_HOME", "")
        except psutil.Error:
            continue
        if home.startswith(str(clone.root)) and any("uvicorn" in word or "server_process" in word for word in words):
            found.append(process)
    return found


def processes(clone: Clone) -> list[psutil.Process]:
    """All processes that work in this project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(clone.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class Api:
    """Prefect's API, asked with the address and the password that the project's server has left for other shells."""

    def __init__(self, clone: Clone) -> None:
        text = (clone.root / ".headway" / "prefect" / "server.env").read_text()
        found = dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
        self.url, self.auth = found["PREFECT_API_URL"], found["PREFECT_API_AUTH_STRING"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        user, _, password = self.auth.partition(":")
        answer = requests.request(
            "GET" if body is None else "POST", f"{self.url}/{path}", json=body, auth=(user, password), timeout=20
        )
        answer.raise_for_status()
        return answer.json()

    def deployment(self) -> Any:
        """The only deployment, None if there is none yet."""
        found = self.ask("deployments/filter", {})
        return found[0] if found else None

    def run_now(self, deployment: Any) -> str:
        """Ask for a run at once and return its id."""
        made = self.ask(f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        return str(made["id"])

    def slots_taken(self) -> int:
        """Of the concurrency limit of the only deployment."""
        (limit,) = self.ask("v2/concurrency_limits/filter", {})
        return int(limit["active_slots"])

    def state(self, run: str) -> str:
        return str(self.ask(f"flow_runs/{run}")["state_type"])


def wait_for_the_schedule(clone: Clone, log: Path) -> tuple[Api, Any]:
    """The API of the server that `headway schedule` has started, and the deployment, when its schedule is active."""

    def found() -> tuple[Api, Any] | None:
        try:
            api = Api(clone)
            made = api.deployment()
        except (OSError, requests.RequestException):
            return None
        active = made and not made["paused"] and made["schedules"]
        return (api, made) if active and "The next times" in log.read_text() else None

    return wait_for(found, 180, f"the schedule; the log is {log}")
