"""Every documented deployment, with real servers: a champion, a second version judged against it, rollback, predictions.

The servers are started, and everything is done, by the commands that the documentation gives. What the stages compute comes from
the cache of another project where it can; the second version is searched for and trained once, over HTTP.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Clone, commit, end, free_port, git, wait_for
from tests.mlflow_server import mlflow_server
from tests.postgres import PASSWORD, postgres

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

#: The second version is judged, and has to pass: with so few texts it is hardly better. No stage reads these knobs.
LENIENT = {
    "  policy: superior": "  policy: non_inferior",
    "  champion_margin: 0.01": "  champion_margin: 0.5",
    "  macro_f1_margin: 0.02": "  macro_f1_margin: 0.9",
    "  nll_margin: 0.02": "  nll_margin: 9.0",
    "  calibration_margin: 0.02": "  calibration_margin: 0.9",
}
DEPLOYMENTS = (
    "http",
    pytest.param("http and postgres", marks=pytest.mark.slow),
    pytest.param("prefect worker", marks=pytest.mark.slow),
    pytest.param("sqlite file", marks=pytest.mark.slow),
)


@dataclass
class Deployment:
    """A project and the servers that it uses."""

    clone: Clone
    on_worker: bool = False

    def run(self, *command: str) -> str:
        """Run a command and return its output."""
        done = self.clone.run(*command)
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{' '.join(command)}:\n{printed[-3000:]}"
        return printed

    def retrain(self) -> str:
        """Run the pipeline as the deployment does, and return the output."""
        if not self.on_worker:
            return self.run("headway", "run")
        self.run("prefect", "deployment", "run", "headway/retrain")
        return self.run(*self.documented("prefect worker start"), "--run-once")

    def documented(self, start: str, skipped: int = 0) -> list[str]:
        """The words of the command in prefect.yaml that starts like this, without the first ones."""
        (line,) = re.findall(rf"^#   ({start}.*)$", (self.clone.root / "prefect.yaml").read_text(), re.MULTILINE)
        return str(line).split()[skipped:]

    def start_prefect(self, servers: ExitStack, log: Path) -> None:
        """Start a Prefect server and make the deployment of prefect.yaml on it."""
        process = self.clone.start(*self.documented("headway server"), "--port", str(free_port()), log=log)
        servers.callback(end, process, signal.SIGTERM)
        wait_for(lambda: "In other shells" in log.read_text(), 120, f"the server; the log is {log}")
        (source,) = self.documented("source ", 1)
        shown = self.run("bash", "-c", f"source {source}; env")
        found = dict(line.split("=", 1) for line in shown.splitlines() if line.startswith("PREFECT_API_"))
        self.clone.environment |= found
        self.run(*self.documented("prefect work-pool create"))
        self.run(*self.documented("prefect --no-prompt deploy"))
        self.on_worker = True


@pytest.fixture
def deployment(request: pytest.FixtureRequest, resumed: Clone, tmp_path: Path) -> Iterator[Deployment]:
    clone = resumed
    clone.edit(*LENIENT.items())
    git(clone.root, "add", "--all")
    commit(clone.root, "A lenient gate")
    deployment = Deployment(clone)
    with ExitStack() as servers:
        backend, variables = "", {}
        if "postgres" in request.param:
            backend, variables = servers.enter_context(postgres()).url, {"PGPASSWORD": PASSWORD}
        if request.param != "sqlite file":
            url = servers.enter_context(mlflow_server(tmp_path / "mlflow", backend, variables))
            clone.environment["MLFLOW_TRACKING_URI"] = url
        if request.param == "prefect worker":
            deployment.start_prefect(servers, tmp_path / "prefect.log")
        yield deployment


@pytest.mark.parametrize("deployment", DEPLOYMENTS, indirect=True)
def test_a_champion_is_promoted_replaced_restored_and_used(deployment: Deployment) -> None:
    clone = deployment.clone
    assert "PROMOTED: version 1 is champion" in deployment.retrain()

    clone.edit(("  max_order: 3 ", "  max_order: 2 "))
    second = deployment.retrain()
    assert "PROMOTED: version 2 is champion" in second
    assert "against the champion" in second

    restored = deployment.run("headway", "rollback", "--reason", "too many complaints")
    assert "version 1 is champion again" in restored
    assert re.search(
        r"^(negative|positive)\t0\.\d+\t", deployment.run("headway", "predict", "--text", "A joy."), re.MULTILINE
    )
    assert "3 decisions, none altered" in deployment.run("headway", "history", "--verify")
    for version in ("1", "2"):
        assert f"version {version}" in deployment.run("headway", "card", version)
    assert clone.layout.tracking_database.exists() == ("MLFLOW_TRACKING_URI" not in clone.environment)
