"""A project keeps its champion, history and files when its folder is moved; a copy of the folder is a project of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest

import headway
from headway import tracking_database
from headway.files import sha256_of_file
from headway.layout import Layout
from headway.params import Params
from headway.promotion import history
from headway.promotion.champion import reconcile
from headway.promotion.decision import ROLLBACK
from headway.promotion.rollback import roll_back
from headway.registry.registry import Registry
from headway.serving.package import ModelPackage
from headway.tracking import Tracker
from tests.apart import CONTEXT, is_killed
from tests.promotion.conftest import REQUESTER, House, Stock

TEXTS = ["a fine film", "dull"]
NAMES = ["moved", "two words", "#1", "50%41", "für 模型", "a/b/c"]


@pytest.fixture(scope="module")
def original(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project whose version 1 was champion and whose version 2 is. Only to be copied."""
    layout = Layout(Path(shutil.copytree(stock.layout.root, tmp_path_factory.mktemp("original") / "the project")))
    house = House(stock, Registry(Tracker(stock.params, layout)))
    for folder in stock.folders[:2]:
        house.decide(house.registry.register(folder, stock.run, {}))
    return layout


@pytest.fixture
def project(original: Layout, tmp_path: Path) -> Layout:
    """A copy of the original that was opened once, so that it is a project of its own."""
    layout = Layout(Path(shutil.copytree(original.root, tmp_path / "project")))
    tracking_database.follow_move(layout)
    return layout


def dump(layout: Layout) -> str:
    with closing(sqlite3.connect(layout.tracking_database)) as connection:
        return "\n".join(connection.iterdump())


def tree(layout: Layout) -> dict[str, str]:
    files = (file for file in layout.root.rglob("*") if file.is_file())
    return {file.relative_to(layout.root).as_posix(): sha256_of_file(file) for file in files}


def opened(params: Params, layout: Layout) -> Registry:
    return Registry(Tracker(params, layout))


@pytest.mark.parametrize("name", NAMES)
def test_a_moved_project_keeps_champion_history_and_files(stock: Stock, project: Layout, tmp_path: Path, name: str) -> None:
    before = history.decisions(opened(stock.params, project))
    target = tmp_path / "elsewhere" / name
    target.parent.mkdir(parents=True)
    moved = Layout(Path(shutil.move(project.root, target)))
    registry = opened(stock.params, moved)
    assert history.examine(registry) == (before, "")
    champion = reconcile(registry).champion
    assert champion is not None
    assert str(champion.version) == "2"
    assert all(registry.loads(version) for version in registry.versions())
    roll_back(registry, None, "the new one is worse", REQUESTER, {})
    assert str(reconcile(registry).champion_number) == "1"
    assert not project.root.exists(), "something was written to the old place"
    assert project.root.as_uri() not in dump(moved)
    assert str(project.root) not in dump(moved)


def test_a_moved_project_is_loaded_from_python_before_any_command(stock: Stock, project: Layout, tmp_path: Path) -> None:
    moved = Layout(project.root.rename(tmp_path / "moved"))
    model = headway.load("champion", project=moved.root)
    expected = ModelPackage.load(stock.folders[1]).predict_proba(TEXTS)
    np.testing.assert_array_equal(model.predict_proba(TEXTS), expected)


def test_mlflow_finds_the_files_of_a_moved_project_after_any_command(stock: Stock, project: Layout, tmp_path: Path) -> None:
    moved = Layout(project.root.rename(tmp_path / "moved"))
    opened(stock.params, moved)
    client = mlflow.MlflowClient(moved.tracking_uri)
    run = client.get_run(client.get_registered_model(stock.params.registry.model_name).tags["headway.history"])
    assert run.info.artifact_uri.startswith(moved.artifacts.as_uri())
    listed = {Path(one.path).stem for one in client.list_artifacts(run.info.run_id, "records")}
    assert {run.data.params[number] for number in ("000001", "000002")} <= listed


def test_a_copied_project_is_its_own(stock: Stock, project: Layout, tmp_path: Path) -> None:
    before, decided = tree(project), history.decisions(opened(stock.params, project))
    copy = House(stock, opened(stock.params, Layout(Path(shutil.copytree(project.root, tmp_path / "copy")))))
    copy.decide(copy.registry.register(stock.folders[2], stock.run, {}))
    roll_back(copy.registry, "1", "the new one is worse", REQUESTER, {})
    with copy.registry.tracker.nested("trial", "a trial", "key") as run:
        run.log_artifacts([copy.registry.tracker.layout.params])
    assert copy.champion() == "1"
    assert copy.kinds()[-1] == (ROLLBACK, "1")
    assert tree(project) == before
    assert history.decisions(opened(stock.params, project)) == decided


def test_a_project_that_is_opened_through_a_link_is_the_same(stock: Stock, project: Layout, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project.root, target_is_directory=True)
    before = sha256_of_file(project.tracking_database)
    layout = Layout.find(tmp_path / "link")
    assert layout == project
    tracking_database.follow_move(layout)
    assert sha256_of_file(project.tracking_database) == before


def test_a_project_that_did_not_move_is_neither_written_nor_locked(project: Layout) -> None:
    files = tree(project)
    lock = project.scratch / "tracking.lock"
    with tracking_database.locked(project):
        tracking_database.follow_move(project)
    lock.unlink()
    tracking_database.follow_move(project)
    assert not lock.exists()
    assert tree(project).items() <= files.items()


class Deadly(tuple[tuple[str, str, str], ...]):
    """Columns to update, with a kill after the first four."""

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        for number, one in enumerate(tuple.__iter__(self)):
            if number == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            yield one


def follow_and_die(root: Path) -> None:
    tracking_database.LOCATIONS = Deadly(tracking_database.LOCATIONS)  # type: ignore[assignment]
    tracking_database.follow_move(Layout(root))


def test_a_kill_while_the_addresses_change_loses_nothing(stock: Stock, project: Layout, tmp_path: Path) -> None:
    CONTEXT.set_forkserver_preload([__name__])
    moved = Layout(project.root.rename(tmp_path / "moved"))
    assert is_killed(follow_and_die, moved.root)
    registry = opened(stock.params, moved)
    assert history.examine(registry)[1] == ""
    assert all(registry.loads(version) for version in registry.versions())
    assert project.root.as_uri() not in dump(moved)


def test_experiments_with_files_elsewhere_keep_their_address(stock: Stock, project: Layout, tmp_path: Path) -> None:
    client = opened(stock.params, project).client
    elsewhere = {
        "bucket": "s3://bucket/mlruns",
        "bucket of a project": "s3://bucket/mlruns/artifacts",
        "disk": (tmp_path / "project 2").as_uri(),
        "another project": "file:///other/mlruns/artifacts",
    }
    for name, location in elsewhere.items():
        client.create_experiment(name, artifact_location=location)
    moved = Layout(project.root.rename(tmp_path / "moved"))
    client = opened(stock.params, moved).client
    assert {name: client.get_experiment_by_name(name).artifact_location for name in elsewhere} == elsewhere
    own = client.get_experiment_by_name(stock.params.registry.experiment)
    assert own.artifact_location == moved.artifacts.as_uri()


def test_without_experiment_0_headways_own_runs_say_where_the_project_was(
    stock: Stock, project: Layout, tmp_path: Path
) -> None:
    opened(stock.params, project).client.create_experiment("other", artifact_location="file:///other/mlruns/artifacts")
    with closing(sqlite3.connect(project.tracking_database)) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0' WHERE experiment_id = 0")
        connection.commit()
    moved = Layout(project.root.rename(tmp_path / "moved"))
    client = opened(stock.params, moved).client
    own = client.get_experiment_by_name(stock.params.registry.experiment)
    assert own.artifact_location == moved.artifacts.as_uri()
    assert client.get_experiment_by_name("other").artifact_location == "file:///other/mlruns/artifacts"
