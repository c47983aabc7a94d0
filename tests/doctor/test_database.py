"""MLflow's database and the registered model, as the stored project of version 0.1.0 has them, and broken in several ways."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from headway import mlflow_errors
from headway.doctor.check import FAULT, OK, WARNING, Check, guarded
from headway.doctor.database import check_mlflow
from headway.doctor.registered import check_registry
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import Params
from headway.registry.rest import MlflowServer, NotFound
from tests.old_project import unpack


@pytest.fixture
def old(tmp_path: Path) -> Layout:
    """A project of version 0.1.0 in another folder than it was made in: version 2 is champion, after three decisions."""
    return unpack(tmp_path / "reviews")


@pytest.fixture(autouse=True)
def own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def mlflow(layout: Layout) -> Check:
    (check,) = guarded("mlflow", lambda: check_mlflow(layout))
    return check


def registry(layout: Layout, params: Params | None) -> dict[str, Check]:
    return {check.name: check for check in guarded("registry", lambda: check_registry(layout, params))}


def execute(layout: Layout, *statements: str) -> None:
    with closing(sqlite3.connect(layout.tracking_database)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


# The database


def test_a_database_of_this_mlflow_passes_and_is_not_written_to(old: Layout) -> None:
    before = old.tracking_database.read_bytes()
    assert mlflow(old).state == OK
    assert sorted(path.name for path in old.tracking.iterdir()) == ["artifacts", "mlflow.db"]
    assert old.tracking_database.read_bytes() == before


def test_the_latest_revision_is_the_one_that_this_mlflow_writes(old: Layout) -> None:
    with closing(sqlite3.connect(old.tracking_database)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert mlflow_errors.latest_revision() == revision


@pytest.mark.parametrize(
    ("revision", "cause", "remedy"),
    [
        ("451aebb31d03", "an older MLflow than", "mlflow db upgrade"),
        ("0123456789ab", "a newer MLflow than", "install the version"),
    ],
)
def test_a_schema_of_another_mlflow_is_a_fault(old: Layout, revision: str, cause: str, remedy: str) -> None:
    execute(old, f"UPDATE alembic_version SET version_num = '{revision}'")
    check = mlflow(old)
    assert check.state == FAULT
    assert cause in check.found
    assert remedy in check.remedy


def test_no_database_is_made(old: Layout, params: Params) -> None:
    shutil.rmtree(old.tracking)
    assert mlflow(old).state == OK
    assert [check.state for check in registry(old, params).values()] == [OK]
    assert not old.tracking.exists()


def test_a_locked_database_is_a_fault(old: Layout) -> None:
    with closing(sqlite3.connect(old.tracking_database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        check = mlflow(old)
    assert check.state == FAULT
    assert "locked" in check.found
    assert "wait for that process or end it" in check.remedy


def test_a_damaged_database_is_a_fault(old: Layout) -> None:
    old.tracking_database.write_bytes(b"not a database " * 1000)
    check = mlflow(old)
    assert check.state == FAULT
    assert "restore" in check.remedy


def test_a_database_without_mlflows_tables_is_a_fault(old: Layout) -> None:
    old.tracking_database.unlink()
    execute(old, "CREATE TABLE other (number)")
    check = mlflow(old)
    assert check.state == FAULT
    assert "does not have MLflow's tables" in check.found


def test_an_empty_database_is_no_fault(old: Layout, params: Params) -> None:
    old.tracking_database.write_bytes(b"")
    check = mlflow(old)
    assert (check.state, "the first run creates its tables" in check.found) == (OK, True)
    assert [check.state for check in registry(old, params).values()] == [OK]
    assert old.tracking_database.read_bytes() == b""


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "databricks"])
def test_an_address_that_cannot_be_used_is_a_fault(old: Layout, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    check = mlflow(old)
    assert check.state == FAULT
    assert "MLFLOW_TRACKING_URI" in check.remedy


def test_a_database_server_that_is_down_is_a_fault_without_its_password(
    old: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:hidden-secret@127.0.0.1:9/mlflow")
    check = mlflow(old)
    assert check.state == FAULT
    assert "does not answer" in check.found
    assert "hidden-secret" not in str(check)


# The registered model


def test_the_champion_and_the_history_are_found_although_the_project_has_moved(old: Layout, params: Params) -> None:
    found = registry(old, params)
    assert [check.state for check in found.values()] == [OK, OK]
    assert found["champion"].found == "version 2 of headway"
    assert found["history"].found.startswith("3 decisions on headway")


def test_another_name_has_no_model_yet(old: Layout, params: Params) -> None:
    (check,) = registry(old, params.override({"registry.model_name": "other"})).values()
    assert (check.state, check.found.startswith("no model other yet")) == (OK, True)


def test_files_of_the_champion_that_are_missing_are_a_fault(old: Layout, params: Params) -> None:
    for folder in old.artifacts.glob("models/*"):
        shutil.rmtree(folder)
    check = registry(old, params)["champion"]
    assert check.state == FAULT
    assert "files of version 2 of headway are missing" in check.found
    assert "headway rollback" in check.remedy


def test_a_champion_that_was_deleted_is_a_fault(old: Layout, params: Params) -> None:
    execute(old, "UPDATE model_versions SET current_stage = 'Deleted_Internal' WHERE version = 2")
    check = registry(old, params)["champion"]
    assert (check.state, "was deleted" in check.found) == (FAULT, True)


def test_no_champion_is_no_fault(old: Layout, params: Params) -> None:
    execute(old, "DELETE FROM registered_model_aliases")
    assert registry(old, params)["champion"].state == OK


def test_a_decision_that_is_missing_from_the_history_is_a_fault(old: Layout, params: Params) -> None:
    execute(old, "DELETE FROM params WHERE key = '000002'")
    check = registry(old, params)["history"]
    assert (check.state, "decision 2 of headway is missing" in check.found) == (FAULT, True)


@pytest.mark.parametrize(("lost", "first"), [("key = '000003'", 3), ("key LIKE '0000%'", 1)])
def test_a_history_that_ends_before_what_was_carried_out_is_a_fault(
    old: Layout, params: Params, lost: str, first: int
) -> None:
    execute(old, f"DELETE FROM params WHERE {lost}")
    check = registry(old, params)["history"]
    assert (check.state, f"decision {first} of headway is missing" in check.found) == (FAULT, True)
    assert "restore" in check.remedy


def test_a_decision_that_was_not_carried_out_is_a_warning(old: Layout, params: Params) -> None:
    execute(old, "UPDATE registered_model_tags SET value = '2 abc' WHERE key = 'headway.history_carried_out'")
    check = registry(old, params)["history"]
    assert (check.state, check.remedy) == (WARNING, "`make run` carries it out")


def test_without_params_the_registry_is_not_checked(old: Layout) -> None:
    assert [check.state for check in registry(old, None).values()] == [WARNING]


# A server


class Server:
    """Stands in for MLflow's REST client."""

    answers: ClassVar[dict[str, Any]] = {}

    def __init__(self, uri: str) -> None:
        pass

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        if path not in self.answers:
            raise NotFound("no such thing")
        found = self.answers[path]
        if isinstance(found, HeadwayError):
            raise found
        return dict(found)

    def version(self) -> str:
        return str(self.answers["version"])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The answers of an MLflow server over HTTP, to be filled in."""
    answers: dict[str, Any] = {"version": mlflow_errors.importlib.metadata.version("mlflow")}
    monkeypatch.setattr(Server, "answers", answers)
    for module in ("database", "registered"):
        monkeypatch.setattr(f"headway.doctor.{module}.{MlflowServer.__name__}", Server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    return answers


def test_a_server_that_answers_passes(old: Layout, params: Params, server: dict[str, Any]) -> None:
    assert mlflow(old).state == OK
    assert [check.state for check in registry(old, params).values()] == [OK]


def test_another_mlflow_on_the_server_is_a_warning(old: Layout, server: dict[str, Any]) -> None:
    server["version"] = "2.20.1"
    check = mlflow(old)
    assert check.state == WARNING
    assert "2.20.1" in check.found


def test_a_server_that_asks_for_a_password_is_a_fault(old: Layout, server: dict[str, Any]) -> None:
    server["/experiments/get-by-name"] = HeadwayError("it refuses with status 401; set MLFLOW_TRACKING_USERNAME")
    check = mlflow(old)
    assert (check.state, check.remedy) == (FAULT, "set MLFLOW_TRACKING_USERNAME")


def test_the_champion_on_a_server_is_found(old: Layout, params: Params, server: dict[str, Any]) -> None:
    tags = {"headway.history": "a run", "headway.history_carried_out": "2 abc"}
    server["/registered-models/get"] = {
        "registered_model": {
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "aliases": [{"alias": "challenger", "version": "5"}, {"alias": "champion", "version": "4"}],
        }
    }
    server["/runs/get"] = {"run": {"data": {"params": [{"key": "000001"}, {"key": "000002"}]}}}
    found = registry(old, params)
    assert (found["champion"].state, "was deleted" in found["champion"].found) == (FAULT, True)
    assert (found["history"].state, found["history"].found[:11]) == (OK, "2 decisions")
    server["/model-versions/get"] = {"model_version": {"version": "4"}}
    assert registry(old, params)["champion"] == Check("champion", OK, "version 4 of headway")
