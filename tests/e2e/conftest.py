"""A copy of the project whose flow takes a minute: 3,000 Rotten Tomatoes sentences and a search of two short trials."""

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
from filelock import FileLock

from flows import local_server
from headway import params as parameters
from headway.files import fresh_folder
from headway.layout import Layout
from headway.promotion import history
from headway.promotion.decision import Decision
from headway.registry.registry import Registry
from headway.tracking import Tracker

#: The files that take longest, in that order. They run first, so that all test processes end at about the same time.
LONGEST = (
    "e2e/test_recovery.py",
    "e2e/test_signals.py",
    "e2e/test_secrets.py",
    "e2e/test_readme.py",
    "e2e/test_registry.py",
    "e2e/test_pipeline.py",
    "e2e/test_servers.py",
    "e2e/test_schedule.py",
    "docker/test_stack.py",
    "stages/test_tune.py",
    "stages/test_data_stages.py",
    "e2e/test_versioning.py",
)
TESTS = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SECONDS = 420
SMALL = {
    "  subset: imdb": "  subset: rotten_tomatoes",
    "  max_rows: 0 ": "  max_rows: 3000 ",
    "  trials: 8": "  trials: 2",
    "  max_epochs: auto            # Passes": "  max_epochs: 3               # Passes",
    "  max_epochs: auto            # Epochs": "  max_epochs: 1               # Epochs",
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


def new_clone(repository: Path, root: Path, prefect_home: Path | None = None) -> Clone:
    """A new repository with the files that git tracks or would track, with small params, committed; and a home of Prefect."""
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
    if prefect_home:
        shutil.copytree(prefect_home, root / ".headway" / "prefect")
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first. Needs ``--no-loadscope-reorder`` if pytest-xdist distributes files."""

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(TESTS).as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder for this and all other test processes of pytest-xdist, which the first one that needs it makes. Read-only."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with fresh_folder(folder) as new:
                make(new)
    return folder


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Prefect with a new database. To make one takes most of the time of a server's first start."""

    def make(folder: Path) -> None:
        with local_server.embedded(folder):
            pass

    return made_once(tmp_path_factory, "prefect", make)


@pytest.fixture
def clone(repository: Path, prefect_home: Path, tmp_path: Path) -> Clone:
    """A copy of the project in which nothing has run yet; only Prefect's database is there."""
    return new_clone(repository, tmp_path / "clone", prefect_home)


@pytest.fixture(scope="session")
def first_run(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ``clone`` whose first flow has run and whose results are committed, and what that run ``printed``."""

    def make(folder: Path) -> None:
        clone = new_clone(repository, folder / "clone")
        done = clone.run("headway", "run")
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed[-3000:]
        git(clone.root, "add", "--all")
        commit(clone.root, "Its first run")
        (folder / "printed").write_text(printed, encoding="utf-8")

    return made_once(tmp_path_factory, "first-run", make)


@pytest.fixture(scope="module")
def finished(first_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A copy whose first flow has run and whose results are committed, and the output of that run."""
    root = tmp_path_factory.mktemp("finished") / "clone"
    shutil.copytree(first_run / "clone", root, symlinks=True)
    return Clone(root), (first_run / "printed").read_text(encoding="utf-8")


@pytest.fixture
def ran(finished: tuple[Clone, str]) -> Clone:
    """The copy whose first flow has run. The tests of a file share it, in their order."""
    return finished[0]


@pytest.fixture
def resumed(clone: Clone, first_run: Path) -> Clone:
    """A copy in which nothing has run yet, with the cache of the one whose first flow has run: equal stages are restored."""
    shutil.copytree(first_run / "clone" / ".dvc" / "cache", clone.root / ".dvc" / "cache")
    return clone
