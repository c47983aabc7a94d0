"""A team works on the stack by the commands of docker/README.md, in their order: run, promote, serve, log, label, monitor,
retrain, decide again, roll back, back up, and restore into a new stack."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.docker.compose_file import DOCKER
from tests.docker.stack import Stack, postgres_programs
from tests.docker.test_stack import call, prefect, s3
from tests.docker.test_watching import expressions
from tests.e2e.conftest import new_clone
from tests.real_texts import chinese

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

README = (DOCKER / "README.md").read_text()
BACKUP = "/srv/backups/today"


def documented() -> list[str]:
    """The commands of the README, in their order."""
    return re.findall(r"^\$ (.*?)(?: +#.*)?$", README, re.MULTILINE)


class Team:
    """People at a terminal in the project's folder."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.run_commands: list[str] = []

    def run(self, command: str) -> str:
        """Run a command in a shell; returns what it prints."""
        path = f"{self.stack.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        here = self.stack.translate(command).replace(BACKUP, str(self.stack.folder / "backup"))
        done = subprocess.run(
            here,
            shell=True,
            cwd=self.stack.source,
            env={**os.environ, "PATH": path, "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        said = done.stdout + done.stderr
        logs = "\n".join(
            f"--- {one.name}\n{one.read_text(errors='replace')[-1500:]}" for one in self.stack.folder.glob("*.log")
        )
        assert done.returncode == 0, f"{command}\n{said[-5000:]}\n{logs}"
        return said

    def do(self, *words: str) -> str:
        """Run the next of the README's commands, which has these words in it."""
        command = documented()[len(self.run_commands)]
        assert all(word in command for word in words), f"{command!r} is next, not one with {words}"
        self.run_commands.append(command)
        return self.run(command)

    def headway(self, words: str) -> str:
        return self.run(f"docker compose -f docker/compose.yaml exec worker with-secrets headway {words}")

    def ask(self, texts: list[str], ids: list[str] | None = None) -> list[dict[str, Any]]:
        """The service's predictions for some texts."""
        headers = {"Authorization": f"Bearer {self.stack.secret('serve_tokens')}"}
        body = {"texts": texts} | ({"ids": ids} if ids else {})
        status, answer = call(f"{self.stack.url('serve')}/predict", body, headers)
        assert status == 200, answer
        return answer["predictions"]

    def served(self) -> str:
        """The version that answers."""
        headers = {"Authorization": f"Bearer {self.stack.secret('metrics_token')}"}
        return str(call(f"{self.stack.url('serve')}/model", headers=headers)[1]["version"])

    def wait_for(self, what: str, found: Any, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < end, f"{what}: not after {seconds:.0f} s"
            time.sleep(1)

    def logged(self) -> int:
        """Rows in the prediction log's bucket."""
        client, rows = s3(self.stack, "store_owner"), 0
        for entry in client.list_objects_v2(Bucket="predictions", Prefix="log/date=").get("Contents", []):
            body = client.get_object(Bucket="predictions", Key=entry["Key"])["Body"].read()
            file = self.stack.folder / "part.parquet"
            file.write_bytes(body)
            rows += pq.read_metadata(file).num_rows
        return rows


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    if not postgres_programs() or not shutil.which("weed"):
        pytest.skip("no PostgreSQL or no SeaweedFS on this machine")
    with tempfile.TemporaryDirectory(prefix="headway-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_readme_is_at_most_one_page() -> None:
    assert len(README.splitlines()) <= 60


def test_a_team_works_by_the_commands_of_the_readme(folder: Path, repository: Path) -> None:
    first = folder / "first"
    clone = new_clone(repository, first / "project")
    setting = re.search(r"set `serving\.log\.folder: (\S+)` in `params.yaml`", README)
    assert setting
    clone.edit(
        ('    folder: ""', f"    folder: {setting[1]}"),
        ("    texts: none", "    texts: full"),
        ("  feedback: false", "  feedback: true"),
    )
    subprocess.run(["git", "commit", "--quiet", "--all", "--message", "The log"], cwd=clone.root, check=True)
    first.chmod(0o755)
    stack = Stack(first)
    team = Team(stack)
    try:
        for step in (first_champion, quiet_days, an_alarm, back):
            step(team)
        history, rows = team.headway("history --verify"), team.logged()
        answers = [one["top"] for one in team.ask(TEXTS)]  # logged after the backup
        (folder / "second").mkdir(mode=0o755)
        shutil.copytree(first / "project", folder / "second" / "project", symlinks=True)
    finally:
        stack.down()
    others = Team(Stack(folder / "second"))
    others.run_commands = team.run_commands
    shutil.move(first / "backup", others.stack.folder / "backup")
    try:
        restored(others, history, rows, answers)
    finally:
        others.stack.down()


TEXTS = ["a charming and often affecting journey", "unflinchingly bleak and desperate"]


def first_champion(team: Team) -> None:
    """From nothing to a service that answers."""
    team.do("make-secrets.sh")
    team.do("build")
    team.do("up --detach --wait")
    assert "PROMOTED: version 1 is champion" in team.do("headway run")
    assert "headway-monitor/monitor" in team.do("deploy --name retrain --name monitor")
    team.do("--profile serve up")
    assert '"label"' in team.do("curl", "/predict")
    assert team.served() == "1"


def usual_texts(team: Team) -> pa.Table:
    """The test rows: texts like those that the champion was trained on, with their labels."""
    return pq.read_table(team.stack.folder / "headway" / "data" / "prepared" / "test.parquet", columns=["text", "label"])


def quiet_days(team: Team) -> None:
    """Usual texts: they are logged, and monitoring finds nothing."""
    usual = usual_texts(team)["text"].to_pylist()
    for start in range(0, len(usual), 200):
        team.ask(usual[start : start + 200], [f"usual-{number}" for number in range(start, len(usual))][:200])
    asked = len(usual) + 1
    team.wait_for(f"{asked} rows in the log", lambda: team.logged() == asked)
    status = team.do("headway status")
    assert "champion: version 1" in status
    assert re.search(r"^next run: .*, (retrain|monitor)$", status, re.MULTILINE), status
    assert f"OK: version 1 of headway, {asked:,} answers" in team.do("headway monitor")
    assert run_deployment(team, "headway-monitor", "monitor") == "COMPLETED"
    check_the_dashboard(team)
    assert "no retraining: monitoring: ok" in team.do("retrain --if-needed")


def an_alarm(team: Team) -> None:
    """Other texts, all of whose labels say that the answer was wrong: an alarm, a retraining, and a second decision. All answers
    are labelled, because labels of the other texts alone would be no fair sample."""
    before, other = team.logged(), chinese(400)[0]
    ids = [f"late-{number}" for number in range(len(other))]
    answers = [one for start in (0, 200) for one in team.ask(other[start : start + 200], ids[start : start + 200])]
    logged = before + sum(bool(one["label"]) for one in answers)
    team.wait_for(f"{logged} rows in the log", lambda: team.logged() == logged)
    late, classes = team.stack.folder / "headway" / "late.csv", ["negative", "positive"]
    with late.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["request_id", "true_label"])
        writer.writerows([one["id"], classes[one["label"] == classes[0]]] for one in answers if one["label"])
        writer.writerows([f"usual-{number}", label] for number, label in enumerate(usual_texts(team)["label"].to_pylist()))
    assert f"{logged - 1} added" in team.headway("label late.csv")
    late.unlink()
    assert "ALARM" in team.headway("monitor")
    said = team.headway("retrain --if-needed")
    assert "retraining: monitoring raised an alarm" in said
    assert "decision 2" in team.headway("status")
    if "PROMOTED" not in said:  # whatever the gate decided, there shall be a former champion to go back to
        team.headway("promote 2 --force --reason 'for the test'")
    team.wait_for("version 2 is served", lambda: team.served() == "2")


def back(team: Team) -> None:
    """The former champion again, and a backup."""
    team.do("rollback")
    team.wait_for("version 1 is served again", lambda: team.served() == "1")
    team.do("docker/backup.sh", BACKUP)


def restored(others: Team, history: str, rows: int, answers: list[Any]) -> None:
    """A new stack from the backup has the same history, champion, log and answers, and goes on."""
    others.do("docker/restore.sh", BACKUP)
    others.do("--profile serve", "up")
    assert others.headway("history --verify") == history
    assert others.served() == "1"
    assert others.logged() == rows
    assert [one["top"] for one in others.ask(TEXTS)] == answers
    assert "version 1" in others.headway("monitor")
    assert others.run_commands == documented()


def run_deployment(team: Team, flow: str, name: str) -> str:
    """Start a run of a deployment on the worker; its state at the end."""
    _, deployment = prefect(team.stack, f"deployments/name/{flow}/{name}")
    _, run = prefect(team.stack, f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    end = time.monotonic() + 180
    while run["state"]["type"] in ("SCHEDULED", "PENDING", "RUNNING") and time.monotonic() < end:
        time.sleep(1)
        _, run = prefect(team.stack, f"flow_runs/{run['id']}")
    return str(run["state"]["type"])


def check_the_dashboard(team: Team) -> None:
    """Ask Prometheus, if it is installed, every query of the dashboard."""
    if not team.stack.is_installed("prometheus"):
        return
    empty = []
    team.wait_for("a scrape", lambda: query(team, "headway_requests_total"))
    for expression in expressions():
        if not query(team, expression):
            empty.append(expression)
    assert [one for one in empty if "shadow" not in one and "rejected" not in one and "rate(" not in one] == []


def query(team: Team, expression: str) -> list[Any]:
    status, answer = call(f"{team.stack.url('prometheus')}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert status == 200, f"{expression}: {json.dumps(answer)}"
    return list(answer["data"]["result"])
