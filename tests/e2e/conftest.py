"""A copy of the project whose flow takes a minute: 3,000 Rotten Tomatoes sentences and a search of two trials."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headway import params as parameters
from headway.layout import Layout
from headway.promotion import history
from headway.promotion.decision import Decision
from headway.registry.registry import Registry
from headway.tracking import Tracker

BIN = Path(sys.executable).parent
SECONDS = 420
SMALL = {
    "  subset: imdb": "  subset: rotten_tomatoes",
    "  max_rows: 0 ": "  max_rows: 3000 ",
    "  trials: 8": "  trials: 2",
    "  threads: 2": "  threads: 1",  # two test processes run side by side
    # With so few sentences the attention part does not reach the linear model. These tests are not about accuracy.
    "  baseline_margin: 0.03": "  baseline_margin: 0.2",
    "  bootstrap_samples: 10000": "  bootstrap_samples: 1000",
}


@dataclass
class Clone:
    """A project in its own folder, used as a person does: by commands, of which status and output are read."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    def env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_API", "DVC_"))}
        path = f"{BIN}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "PREFECT_HOME": str(self.root / ".headway" / "prefect"), **self.environment}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for its end."""
        env = {**self.env(), **environment}
        return subprocess.run(
            command,
            cwd=self.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def start(self, *command: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command in its own process group, with its output in a file."""
        with log.open("wb") as file:
            return subprocess.Popen(
                command, cwd=self.root, env={**self.env(), **environment}, stdout=file, stderr=file, start_new_session=True
            )

    def edit(self, *changes: tuple[str, str]) -> None:
        """Replace texts in params.yaml; each of them must occur."""
        file = self.layout.params
        text = file.read_text()
        for old, new in changes:
            assert old in text, f"{old!r} is not in params.yaml"
            text = text.replace(old, new)
        file.write_text(text)

    def tracker(self) -> Tracker:
        return Tracker(parameters.load(self.layout.params), self.layout)

    def decisions(self) -> list[Decision]:
        """The history, oldest decision first."""
        return history.decisions(Registry(self.tracker()))


def new_clone(repository: Path, root: Path) -> Clone:
    """A new repository with the files that git tracks or would track, with small params, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = repository / name
        if source.is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)
    clone = Clone(root)
    (root / "dvc.lock").unlink(missing_ok=True)
    clone.edit(*SMALL.items())
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    commit(root, "The project")
    return clone


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(root: Path, message: str) -> None:
    git(root, "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "--quiet", "--message", message)


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until a condition is true and return its value; the test fails, naming ``what``, if that takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    return pytest.fail(f"waited {seconds:g} s for {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes], sign: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process group, if it still exists, and wait for its leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, sign)
    process.wait(30)


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Clone:
    """A copy of the project in which nothing has run yet."""
    return new_clone(repository, tmp_path / "clone")


@pytest.fixture(scope="session")
def finished(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A copy whose first flow has run and whose results are committed, and the output of that run."""
    clone = new_clone(repository, tmp_path_factory.mktemp("finished") / "clone")
    done = clone.run("headway", "run")
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    git(clone.root, "add", "--all")
    commit(clone.root, "Its first run")
    return clone, printed


@pytest.fixture
def ran(finished: tuple[Clone, str]) -> Clone:
    """The copy whose first flow has run. The tests of a file share it, in their order."""
    return finished[0]
