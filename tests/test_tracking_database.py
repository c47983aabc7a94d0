"""The project's own MLflow database: complete at every moment at which it exists, and valid wherever the project's folder is."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_latest_schema_revision
from sqlalchemy import event
from sqlalchemy.engine import Engine

from headway import tracking_database
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import Params
from headway.tracking import Tracker
from tests.apart import CONTEXT, SECONDS, is_killed
from tests.mortal import die_at


@pytest.fixture(scope="module", autouse=True)
def preload() -> None:
    CONTEXT.set_forkserver_preload([__name__])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete database in which nothing is logged."""
    layout = Layout(tmp_path_factory.mktemp("whole"))
    prepare(layout)
    return layout.tracking_database


def prepare(layout: Layout) -> None:
    with tracking_database.locked(layout):
        tracking_database.prepare(layout)


def query(database: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


def is_complete(database: Path) -> bool:
    return query(database, "SELECT version_num FROM alembic_version") == [(_get_latest_schema_revision(),)]


# Creation.


def test_the_database_is_complete_at_every_write_of_its_creation(tmp_path: Path) -> None:
    """What is on the disk before a write is what a kill there leaves."""
    layout, seen = Layout(tmp_path), []

    def look(*_: object) -> None:
        seen.append(not layout.tracking_database.exists() or is_complete(layout.tracking_database))

    event.listen(Engine, "before_cursor_execute", look)
    event.listen(Engine, "commit", look)
    try:
        prepare(layout)
    finally:
        event.remove(Engine, "before_cursor_execute", look)
        event.remove(Engine, "commit", look)
    assert len(seen) > 100
    assert all(seen)
    assert is_complete(layout.tracking_database)
    assert [file.name for file in layout.tracking.iterdir()] == ["mlflow.db"], "files were left beside it"


def create_and_end(root: Path, number: signal.Signals, seconds: float) -> None:
    """Create the database in ``root``, and send this process a signal after some seconds."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
    prepare(Layout(root))
    time.sleep(SECONDS)


def test_a_creation_that_was_killed_again_and_again_succeeds_in_the_end(params: Params, project: Layout) -> None:
    moments = random.Random(7)
    for number in (signal.SIGKILL, signal.SIGINT) * 4:
        child = CONTEXT.Process(target=create_and_end, args=(project.root, number, moments.uniform(0.05, 2)))
        child.start()
        child.join(SECONDS)
        assert child.exitcode in ((-signal.SIGKILL,) if number == signal.SIGKILL else (1, -signal.SIGINT))
    tracker = Tracker(params, project)
    with tracker.nested("trial", "a trial", "key"):
        pass
    assert tracker.find(kind="trial", key="key") is not None
    assert {file.name for file in project.tracking.iterdir()} <= {"mlflow.db", "artifacts"}


def create_the_old_way(root: Path, writes: int) -> None:
    """Let MLflow make its tables in place, and die by SIGKILL at a write."""
    die_at(writes)
    MlflowClient(f"sqlite:///{Layout(root).tracking_database}").search_experiments()


@pytest.mark.parametrize("writes", [2, 30, 250])
def test_a_database_that_was_half_made_in_place_is_made_anew(params: Params, project: Layout, writes: int) -> None:
    project.tracking.mkdir()
    assert is_killed(create_the_old_way, project.root, writes)
    Tracker(params, project)
    assert is_complete(project.tracking_database)


@pytest.mark.parametrize("damage", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_an_incomplete_database_with_runs_is_named_and_not_touched(whole: Path, project: Layout, damage: str) -> None:
    project.tracking.mkdir()
    shutil.copyfile(whole, project.tracking_database)
    MlflowClient(f"sqlite:///{project.tracking_database}").create_run("0")
    query(project.tracking_database, damage)
    before = project.tracking_database.read_bytes()
    with pytest.raises(HeadwayError, match="incomplete, but there are rows in runs"):
        prepare(project)
    assert project.tracking_database.read_bytes() == before


def test_a_file_that_is_no_database_is_named_and_not_touched(project: Layout) -> None:
    project.tracking.mkdir()
    project.tracking_database.write_bytes(b"something else " * 1000)
    with pytest.raises(HeadwayError, match="damaged") as error:
        prepare(project)
    assert "\n" not in str(error.value)
    assert project.tracking_database.read_bytes() == b"something else " * 1000


def test_an_empty_database_of_a_newer_mlflow_is_not_touched(whole: Path, project: Layout) -> None:
    project.tracking.mkdir()
    shutil.copyfile(whole, project.tracking_database)
    query(project.tracking_database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = project.tracking_database.read_bytes()
    prepare(project)
    assert project.tracking_database.read_bytes() == before


def test_the_journal_of_a_half_made_database_is_not_applied_to_the_new_one(whole: Path, project: Layout) -> None:
    project.tracking.mkdir()
    project.tracking_database.touch()
    for ending in tracking_database.SIDECARS:
        project.tracking_database.with_name(f"mlflow.db{ending}").write_bytes(b"left by a kill")
    prepare(project)
    assert is_complete(project.tracking_database)
    assert [file.name for file in project.tracking.iterdir()] == ["mlflow.db"]


AS_NOBODY = """
import os, sys
from pathlib import Path
from headway import tracking_database
from headway.errors import HeadwayError
from headway.layout import Layout
os.setuid(65534)
layout = Layout(Path(sys.argv[1]))
try:
    with tracking_database.locked(layout):
        tracking_database.prepare(layout)
except HeadwayError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("created", [False, True], ids=["new", "with a scratch folder"])
def test_a_project_that_cannot_be_written_is_one_line(tmp_path_factory: pytest.TempPathFactory, created: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        if created:
            (Path(folder) / ".headway").mkdir(mode=0o777)
            (Path(folder) / ".headway").chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, folder], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    assert "cannot be written (Permission denied)" in done.stdout, done.stderr
    assert folder in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_a_folder_that_mlflow_cannot_address_is_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "why?")
    layout.root.mkdir()
    with pytest.raises(HeadwayError, match=r"why\?: .+rename it"):
        prepare(layout)
    assert not layout.tracking.exists()
